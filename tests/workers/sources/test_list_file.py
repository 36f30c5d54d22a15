"""Lists and tables on S3 are read as those on a disk are."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.errors import SourceError
from connector.settings import Settings
from tests.images import image
from workers.records import Blob, Ref, Reject
from workers.sources.open import open_source
from workers.sources.source import Source

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def opened(moto: str) -> Any:
    settings = Settings.load({"s3.endpoint_url": moto})
    return lambda where: closing(open_source(where, settings=settings))


def refs(source: Source) -> list[Ref]:
    return [item for item in source.list() if isinstance(item, Ref)]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("list.txt", "photos/dog.png\n\n../sets/photos/emu.png\n"),
        ("table.csv", "path,stars\nphotos/dog.png,5\nphotos/emu.png,4\n"),
        ("table.jsonl", '{"path": "photos/dog.png"}\n{"path": "./photos/emu.png"}\n'),
    ],
)
def test_paths_in_it_begin_below_its_own_prefix(s3: "S3Client", bucket: str, opened: Any, name: str, body: str) -> None:
    for number, key in enumerate(("dog", "emu")):
        s3.put_object(Bucket=bucket, Key=f"sets/photos/{key}.png", Body=image(number))
    s3.put_object(Bucket=bucket, Key=f"sets/{name}", Body=body.encode())

    with opened(f"s3://{bucket}/sets/{name}") as source:
        listed = refs(source)
        blobs = list(source.read(listed))

    assert source.root == f"s3://{bucket}/sets/{name}"
    assert {ref.source for ref in listed} == {source.root}
    assert [(ref.uri, ref.folder) for ref in listed] == [
        (f"s3://{bucket}/sets/photos/{key}.png", "photos") for key in ("dog", "emu")
    ]
    assert [blob.data for blob in blobs if isinstance(blob, Blob)] == [image(0), image(1)]


def test_images_that_stand_in_a_parquet_are_read_by_another_process_too(
    s3: "S3Client", bucket: str, opened: Any, tmp_path: Path
) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    rows = [{"bytes": image(1), "path": "a/dog.png"}, {"bytes": image(2), "path": "a/emu.png"}]
    pytest.importorskip("pyarrow.parquet").write_table(arrow.table({"image": rows}), tmp_path / "t.parquet")
    s3.upload_file(str(tmp_path / "t.parquet"), bucket, "t.parquet")
    where = f"s3://{bucket}/t.parquet"

    with opened(where) as source:
        listed = refs(source)
    with opened(where) as other:
        blobs = list(other.read(listed))

    assert [ref.uri.partition("#")[0] for ref in listed] == [where, where]
    assert [ref.object_key.partition("#")[0] for ref in listed] == [f"{bucket}/t.parquet"] * 2
    assert [blob.data for blob in blobs if isinstance(blob, Blob)] == [image(1), image(2)]

    rows.reverse()
    pytest.importorskip("pyarrow.parquet").write_table(arrow.table({"image": rows}), tmp_path / "t.parquet")
    s3.upload_file(str(tmp_path / "t.parquet"), bucket, "t.parquet")
    with opened(where) as later:
        outcomes = list(later.read(listed))
    assert [each.reason for each in outcomes if isinstance(each, Reject)] == ["changed_meanwhile"] * 2


def test_a_list_that_changes_is_read_anew_at_the_next_listing(s3: "S3Client", bucket: str, opened: Any) -> None:
    s3.put_object(Bucket=bucket, Key="l.txt", Body=b"a.png\n")
    with opened(f"s3://{bucket}/l.txt") as source:
        assert [ref.filename for ref in refs(source)] == ["a.png"]
        s3.put_object(Bucket=bucket, Key="l.txt", Body=b"a.png\nb.png\n")
        assert [ref.filename for ref in refs(source)] == ["a.png", "b.png"]


def test_what_leads_out_of_the_bucket_is_a_reject(s3: "S3Client", bucket: str, opened: Any) -> None:
    s3.put_object(Bucket=bucket, Key="sets/l.txt", Body=b"../../a.png\n..\na/../../b.png\n")
    with opened(f"s3://{bucket}/sets/l.txt") as source:
        items = list(source.list())

    assert [item.reason for item in items if isinstance(item, Reject)] == ["bad_address", "bad_address"]
    assert [item.uri for item in items if isinstance(item, Ref)] == [f"s3://{bucket}/b.png"]


@pytest.mark.parametrize("name", ["none.csv", "none.txt", "none.parquet"])
def test_one_that_is_not_there_says_so(bucket: str, opened: Any, name: str) -> None:
    with opened(f"s3://{bucket}/{name}") as source, pytest.raises(SourceError, match=f"s3://{bucket}/{name} is not th"):
        list(source.list())


def test_nothing_is_left_of_the_copy(
    s3: "S3Client", bucket: str, opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    s3.put_object(Bucket=bucket, Key="t.csv", Body=b"path\na.png\n")
    with opened(f"s3://{bucket}/t.csv") as source:
        refs(source)
        assert [*tmp_path.glob("polyglance-list-*/copy.csv")]

    assert not [*tmp_path.glob("polyglance-list-*")]
