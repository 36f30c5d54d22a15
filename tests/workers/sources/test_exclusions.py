"""What a listing leaves out on purpose: litter, ``--exclude``, ``.polyglanceignore``, links to what is listed."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from connector.errors import SourceError
from connector.settings import Settings
from tests.images import write_images
from workers.records import Ref
from workers.sources.disk import DiskSource, uri_of
from workers.sources.exclusions import LITTER
from workers.sources.open import open_source
from workers.sources.passed_over import LINKED
from workers.sources.source import passed_over

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def disk(folder: Path, *exclude: str, hidden: bool = False) -> DiskSource:
    return DiskSource(folder, hidden=hidden, max_bytes=10_000_000, exclude=exclude)


def paths(source: DiskSource, folder: Path) -> set[str]:
    return {str(Path(item.object_key).relative_to(folder)) for item in source.list() if isinstance(item, Ref)}


def write(folder: Path, *names: str, ignoring: Sequence[str] = ()) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    if ignoring:
        (folder / ".polyglanceignore").write_text("\n".join(ignoring))


@pytest.mark.parametrize("hidden", [False, True])
def test_litter_stays_out_and_is_counted(tmp_path: Path, hidden: bool) -> None:
    folders = [name.replace("*", "-1000") for name in LITTER] + ["@EADIR", "$Recycle.Bin", ".Trash"]
    write(tmp_path, "a.jpg", *(f"sub/{name}/b/c.jpg" for name in folders), "my lost+found.jpg")
    source = disk(tmp_path, hidden=hidden)
    assert paths(source, tmp_path) == {"a.jpg", "my lost+found.jpg"}
    assert passed_over(source) == {"litter": len(folders)}


def test_litter_can_be_taken_back_in(tmp_path: Path) -> None:
    write(tmp_path, "a/@eaDir/b.jpg", "#recycle/c.jpg", ignoring=["!@eaDir/"])
    assert paths(disk(tmp_path), tmp_path) == {"a/@eaDir/b.jpg"}


def test_a_place_that_is_litter_itself_can_be_named(tmp_path: Path) -> None:
    write(tmp_path, "@eaDir/b.jpg")
    assert paths(disk(tmp_path / "@eaDir"), tmp_path) == {"@eaDir/b.jpg"}


def test_patterns_are_those_of_gitignore(tmp_path: Path) -> None:
    write(tmp_path, "keep.jpg", "x.tmp.jpg", "drafts/a.jpg", "b/drafts/c.jpg", "top/d.jpg", "b/top/e.jpg", "b/f.jpg")
    source = disk(tmp_path, "*.tmp.jpg", "drafts/", "/top", "!keep.jpg")
    assert paths(source, tmp_path) == {"keep.jpg", "b/top/e.jpg", "b/f.jpg"}
    assert passed_over(source) == {"excluded": 4}


def test_an_ignore_file_holds_for_its_folder_and_below(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "x/a.jpg", "x/y/a.jpg", "x/y/b.jpg", "z/a.jpg", "z/b.jpg", ignoring=["z/*", "!z/b.jpg"])
    write(tmp_path / "x", ignoring=["a.jpg", "!/y/a.jpg"])
    source = disk(tmp_path)
    assert paths(source, tmp_path) == {"a.jpg", "x/y/a.jpg", "x/y/b.jpg", "z/b.jpg"}
    (tmp_path / ".polyglanceignore").write_text("\ufeff# nothing\n", encoding="utf-8")
    assert "z/a.jpg" in paths(source, tmp_path)


def test_what_is_told_of_an_excluded_file_is_not_listed(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "b.jpg", "@eaDir/c.jpg", "z/d.jpg", ignoring=["b.jpg", "z/"])
    told = [uri_of(tmp_path / name) for name in ("a.jpg", "b.jpg", "@eaDir/c.jpg", "z/d.jpg", "z", "@eaDir")]
    assert [item.uri for item in disk(tmp_path).scan(told)] == told[:1]


def test_a_pattern_that_cannot_be_read_is_an_error_that_names_its_place(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"a pattern of ingest\.exclude cannot be read"):
        disk(tmp_path, "!")
    write(tmp_path, "a.jpg", ignoring=["!"])
    with pytest.raises(SourceError, match=r"\.polyglanceignore cannot be read"):
        list(disk(tmp_path).list())


def test_a_link_within_the_place_names_no_image_twice(tmp_path: Path) -> None:
    write(tmp_path, "lib/a.jpg", "lib/sub/b.jpg", "elsewhere/c.jpg", "lib/.hidden/d.jpg", "lib/@eaDir/e.jpg")
    lib = tmp_path / "lib"
    (lib / "again.jpg").symlink_to("a.jpg")
    (lib / "album").symlink_to("sub")
    (lib / "outside.jpg").symlink_to("../elsewhere/c.jpg")
    (lib / "secret.jpg").symlink_to(".hidden/d.jpg")
    (lib / "thumb.jpg").symlink_to("@eaDir/e.jpg")
    source = disk(lib)
    assert paths(source, lib) == {"a.jpg", "sub/b.jpg", "outside.jpg", "secret.jpg", "thumb.jpg"}
    assert passed_over(source) == {LINKED: 2, "litter": 1}


def test_the_same_holds_where_the_place_is_reached_by_a_link(tmp_path: Path) -> None:
    write(tmp_path, "lib/a.jpg")
    (tmp_path / "lib/again.jpg").symlink_to(tmp_path / "lib/a.jpg")
    (tmp_path / "door").symlink_to("lib")
    assert paths(disk(tmp_path / "door"), tmp_path / "door") == {"a.jpg"}


def test_keys_of_a_bucket_are_left_out_alike(s3: "S3Client", bucket: str, moto: str) -> None:
    for key in ("p/a.jpg", "p/@eaDir/b.jpg", "p/drafts/c.jpg", "p/d.jpg"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    settings = Settings.load({"s3.endpoint_url": moto, "ingest.exclude": ["drafts/"]})
    with closing(open_source(f"s3://{bucket}/p", settings=settings)) as source:
        assert sorted(item.object_key for item in source.list() if isinstance(item, Ref)) == [
            f"{bucket}/p/a.jpg",
            f"{bucket}/p/d.jpg",
        ]
        assert passed_over(source) == {"litter": 1, "excluded": 1}


def test_members_of_a_tar_are_left_out_alike(tmp_path: Path) -> None:
    import tarfile

    write_images(tmp_path, ["a.png", "__MACOSX/._a.png", "drafts/b.png"])
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ("a.png", "__MACOSX/._a.png", "drafts/b.png"):
            tar.add(tmp_path / name, arcname=f"./{name}")
    settings = Settings.load({"ingest.exclude": ["drafts/"], "ingest.hidden": True})
    with closing(open_source(str(tmp_path / "x.tar"), settings=settings)) as source:
        assert [item.filename for item in source.list() if isinstance(item, Ref)] == ["a.png"]
        assert passed_over(source) == {"litter": 1, "excluded": 1}
