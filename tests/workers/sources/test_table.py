import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.errors import ConfigError, SourceError
from connector.settings import Settings
from tests.doubles import Answer, WebServer
from workers.records import Blob, Ref, Reject, Unchanged
from workers.sources.disk import uri_of
from workers.sources.list_file import DiskFile
from workers.sources.table import TableSource

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

UUID = "0b8e7f0e-3c5a-4b7e-9d0c-1f2e3d4c5b6a"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("dog", "emu"):
        (tmp_path / "images" / f"{name}.jpg").write_bytes(name.encode())
    return tmp_path


def table(file: Path, **settings: Any) -> TableSource:
    return TableSource(DiskFile(file), settings=Settings.load(settings))


def write(file: Path, text: str | bytes) -> Path:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def parquet(file: Path, columns: dict[str, Any]) -> Path:
    arrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    pytest.importorskip("pyarrow.parquet").write_table(arrow.table(columns), file)
    return file


def items(source: TableSource) -> list[Ref | Reject]:
    with closing(source):
        return list(source.list())


def metas(source: TableSource) -> list[dict[str, Any]]:
    return [dict(item.meta) for item in items(source) if isinstance(item, Ref)]


def rejects(source: TableSource) -> list[tuple[str, str]]:
    return [(item.reason, item.detail) for item in items(source) if isinstance(item, Reject)]


def test_a_csv_names_images_beside_it_and_the_other_columns_become_typed_metadata(folder: Path) -> None:
    file = write(
        folder / "photos.csv",
        "\ufefffile_name,year,price,good,zip,taken,note\r\n"
        'images/dog.jpg,2019,1.5,TRUE,01234,2019-05-01,"a dog,\nin the snow"\r\n'
        "\r\n"
        "images/emu.jpg,2020,2,false,99999,2020-05-01,\r\n",
    )
    source = table(file)
    dog, emu = items(source)
    assert isinstance(dog, Ref)
    assert isinstance(emu, Ref)
    assert dog.meta == {
        "year": 2019,
        "price": 1.5,
        "good": True,
        "zip": "01234",
        "taken": "2019-05-01",
        "note": "a dog,\nin the snow",
    }
    assert emu.meta == {"year": 2020, "price": 2.0, "good": False, "zip": "99999", "taken": "2020-05-01"}
    assert type(emu.meta["price"]) is float
    assert dog.uri == uri_of(folder / "images" / "dog.jpg")
    assert (dog.source, dog.folder, dog.filename) == (uri_of(file), "images", "dog.jpg")
    (blob,) = source.read([dog])
    assert isinstance(blob, Blob)
    assert (blob.data, blob.meta, blob.version) == (b"dog", dog.meta, dog.version)


@pytest.mark.parametrize(
    ("name", "mark"), [("a.csv", ";"), ("a.csv", "\t"), ("a.csv", "|"), ("a.tsv", "\t"), ("A.CSV", ",")]
)
def test_the_usual_separators_are_told_by_the_header(folder: Path, name: str, mark: str) -> None:
    file = write(folder / name, f"path{mark}a{mark}n\nimages/dog.jpg{mark}x{mark}1\n")
    assert metas(table(file)) == [{"a": "x", "n": 1}]


def test_a_cell_that_breaks_its_columns_type_late_stays_text(folder: Path) -> None:
    rows = "".join(f"images/dog.jpg,{n}\n" for n in range(1000))
    file = write(folder / "a.csv", f"path,n\n{rows}images/dog.jpg,many\n")
    found = metas(table(file))
    assert (found[999], found[1000]) == ({"n": 999}, {"n": "many"})


def test_json_lines_keep_their_types(folder: Path) -> None:
    rows = [
        {
            "image": "images/dog.jpg",
            "n": 1,
            "f": 0.5,
            "ok": True,
            "none": None,
            "deep": {"a": [1, "x\0"]},
            "tags": ["a"],
        },
        {"image": "images/emu.jpg", "late": "x", "big": 2**70},
    ]
    file = write(folder / "a.jsonl", "\n\n".join(json.dumps(row) for row in rows))
    assert metas(table(file)) == [
        {"n": 1, "f": 0.5, "ok": True, "deep": {"a": [1, "x"]}, "tags": ["a"]},
        {"late": "x", "big": str(2**70)},
    ]


def test_parquet_keeps_its_types_and_leaves_bytes_out(folder: Path) -> None:
    file = parquet(
        folder / "a.parquet",
        {
            "url": ["images/dog.jpg", "images/emu.jpg", None],
            "n": [1, 2, 3],
            "when": [datetime(2020, 1, 2, tzinfo=UTC)] * 3,
            "cost": [Decimal("1.50"), None, None],
            "tags": [["a", "b"], [], None],
            "raw": [b"\xff", b"", None],
        },
    )
    source = table(file)
    assert metas(source) == [
        {"n": 1, "when": "2020-01-02T00:00:00+00:00", "cost": 1.5, "tags": ["a", "b"]},
        {"n": 2, "when": "2020-01-02T00:00:00+00:00", "tags": []},
    ]
    assert rejects(source) == [("bad_row", "row 3: column 'url' holds None, which is no address")]


def test_parquet_times_finer_than_python_knows_are_cut(folder: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    when = arrow.array([1_577_836_800_123_456_789], type=arrow.timestamp("ns"))
    file = parquet(folder / "a.parquet", {"path": ["images/dog.jpg"], "when": when})
    assert metas(table(file)) == [{"when": "2020-01-01T00:00:00.123456"}]


def test_a_large_parquet_file_is_read_in_batches(folder: Path) -> None:
    file = parquet(folder / "a.parquet", {"path": ["images/dog.jpg"] * 5000, "n": list(range(5000))})
    assert [meta["n"] for meta in metas(table(file))] == list(range(5000))


@pytest.mark.parametrize("header", ["url,path,n", "n,PATH,x", "Image_URL,n,n2", "x,file_name,n"])
def test_the_address_column_is_known_by_its_usual_names(folder: Path, header: str) -> None:
    place = next(
        i for i, name in enumerate(header.split(",")) if name.lower() in ("url", "path", "image_url", "file_name")
    )
    cells = ["images/dog.jpg" if i == place else str(i) for i in range(3)]
    (ref,) = items(table(write(folder / "a.csv", f"{header}\n{','.join(cells)}\n")))
    assert isinstance(ref, Ref)
    assert ref.filename == "dog.jpg"


def test_columns_can_be_named(folder: Path) -> None:
    file = write(folder / "a.csv", f"path,image_at,id,keep,drop\nno.jpg,images/dog.jpg,{UUID},1,2\n")
    columns = {"table.path_column": "image_at", "table.id_column": "id", "table.metadata_columns": ["keep"]}
    (ref,) = items(table(file, **columns))
    assert isinstance(ref, Ref)
    assert (ref.filename, ref.meta) == ("dog.jpg", {"keep": 1})
    assert ref.point_id == UUID


def test_an_id_that_is_no_uuid_makes_one_and_the_image_may_move(folder: Path) -> None:
    before = write(folder / "a.csv", "path,sku\nimages/dog.jpg,A-1\nimages/dog.jpg,A-2\n")
    after = write(folder / "b.csv", "path,sku\nimages/emu.jpg,A-1\n")
    first, second = items(table(before, **{"table.id_column": "sku"}))
    (moved,) = items(table(after, **{"table.id_column": "sku"}))
    assert isinstance(first, Ref)
    assert isinstance(second, Ref)
    assert isinstance(moved, Ref)
    assert first.point_id == moved.point_id != second.point_id
    assert first.uri == second.uri


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"table.path_column": "pth"}, r"no column 'pth'\. The nearest one is 'path'"),
        ({"table.id_column": "zzz"}, r"no column 'zzz'\. It has 'path', 'year'"),
        ({"table.metadata_columns": ["yaer"]}, r"The nearest one is 'year'"),
    ],
)
def test_a_column_that_is_not_there_is_an_error_that_names_the_nearest(
    folder: Path, setting: dict[str, Any], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        items(table(write(folder / "a.csv", "path,year\nx.jpg,\n"), **setting))


def test_a_table_without_a_usual_column_is_an_error_that_lists_them(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"It has 'where', 'year'\. Name the right one in table\.path_column"):
        items(table(write(folder / "a.csv", "where,year\nx.jpg,1\n")))


@pytest.mark.parametrize("content", [b"", b"path,year\n", b"\n\n"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_table_without_rows_lists_nothing(folder: Path, name: str, content: bytes) -> None:
    assert items(table(write(folder / name, content))) == []


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_table_that_is_not_there_is_an_error(folder: Path, name: str) -> None:
    with pytest.raises(SourceError, match=f"{name} cannot be read"):
        items(table(folder / name))


@pytest.mark.parametrize("content", [b"", b"PAR1 no parquet PAR1", b"x" * 10_000])
def test_a_broken_parquet_file_is_an_error(folder: Path, content: bytes) -> None:
    pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    with pytest.raises(SourceError, match=r"a\.parquet is no Parquet file"):
        items(table(write(folder / "a.parquet", content)))


@pytest.mark.parametrize("content", [b"\x00\x01\x02\n" * 10, b"[1]\n[2]\n", b"{}\n{}\n"])
def test_a_file_of_no_json_objects_is_an_error(folder: Path, content: bytes) -> None:
    with pytest.raises(SourceError, match="no row that can be understood"):
        items(table(write(folder / "a.jsonl", content)))


def test_a_bad_csv_row_is_a_reject_with_its_line_and_the_others_go_on(folder: Path) -> None:
    file = write(
        folder / "a.csv",
        b'path,n\nimages/dog.jpg,1\nimages/dog.jpg,1,2\n,3\ngone.jpg,4\nftp://host/x.jpg,5\n\xff.jpg,6\n"'
        + b"x" * 200_000
        + b'",7\nimages\nimages/emu.jpg\n',
    )
    source = table(file)
    listed = items(source)
    assert [type(item) for item in listed] == [Ref, *[Reject] * 7, Ref]
    assert [(reason, detail.partition(":")[0]) for reason, detail in rejects(source)] == [
        ("bad_row", "row 3"),
        ("bad_row", "row 4"),
        ("missing", "row 5"),
        ("bad_address", "row 6"),
        ("missing", "row 7"),
        ("bad_row", "row 8"),
        ("not_a_file", "row 9"),
    ]
    assert [item.uri for item in listed if isinstance(item, Reject)][:2] == [f"{uri_of(file)}#row={n}" for n in (3, 4)]
    assert all(item.uri.encode() for item in listed)


def test_a_bad_json_row_is_a_reject_with_its_line_and_the_others_go_on(folder: Path) -> None:
    lines = [
        '{"path": "images/dog.jpg"}',
        "{",
        "7",
        '{"path": 7}',
        '{"path": ""}',
        "[" * 100_000,
        '{"path": "images/emu.jpg"}',
    ]
    source = table(write(folder / "a.jsonl", "\n".join(lines)))
    assert [type(item) for item in items(source)] == [Ref, *[Reject] * 5, Ref]
    assert [detail.partition(":")[0] for _, detail in rejects(source)] == [f"row {n}" for n in range(2, 7)]


def test_a_missing_id_is_a_bad_row(folder: Path) -> None:
    source = table(write(folder / "a.csv", "path,id\nimages/dog.jpg,\nimages/emu.jpg,1\n"), **{"table.id_column": "id"})
    assert rejects(source) == [("bad_row", "row 2: column 'id' holds None, which is no id")]


def test_an_image_that_fails_later_is_a_reject_with_its_row(folder: Path) -> None:
    source = table(write(folder / "a.csv", "path\nimages/dog.jpg\nimages/emu.jpg\n"))
    listed = [item for item in items(source) if isinstance(item, Ref)]
    (folder / "images" / "dog.jpg").unlink()
    gone, there = source.read(listed)
    assert isinstance(gone, Reject)
    assert (gone.stage, gone.reason, gone.detail.startswith("row 2: ")) == ("read", "missing", True)
    assert isinstance(there, Blob)


def test_a_changed_row_is_a_changed_image_and_an_unchanged_one_is_not(folder: Path) -> None:
    file = folder / "a.csv"
    versions = []
    for text in (
        "path,n\nimages/dog.jpg,1\n",
        "path,n\nimages/dog.jpg,1\n",
        "path,n\nimages/dog.jpg,2\n",
        "path\nimages/dog.jpg\n",
    ):
        (ref,) = items(table(write(file, text)))
        assert isinstance(ref, Ref)
        versions.append(ref.version)
    assert versions[0] == versions[1]
    assert len(set(versions)) == 3


@pytest.fixture
def site() -> Iterator[WebServer]:
    def respond(path: str, headers: Any) -> Answer:
        same = headers.get("if-none-match") == '"1"'
        return Answer(304) if same else Answer(200, path.encode(), {"ETag": '"1"'})

    with WebServer(respond) as server:
        yield server


def test_addresses_of_all_kinds_may_be_mixed(
    folder: Path, site: WebServer, s3: "S3Client", bucket: str, moto: str
) -> None:
    s3.put_object(Bucket=bucket, Key="cat.jpg", Body=b"cat", Metadata={"mood": "bad", "n": "from s3"})
    file = write(
        folder / "a.csv",
        f"url,n\nimages/dog.jpg,1\n{site.url}/x.jpg,2\ns3://{bucket}/cat.jpg,3\n"
        f"{uri_of(folder / 'images/emu.jpg')},4\n",
    )
    source = table(file, **{"s3.endpoint_url": moto, "web.allow_networks": ["127.0.0.1/32"]})
    with closing(source):
        listed = [item for item in source.list() if isinstance(item, Ref)]
        outcomes = [outcome for outcome in source.read(listed) if isinstance(outcome, Blob)]
        assert [blob.data for blob in outcomes] == [b"dog", b"/x.jpg", b"cat", b"emu"]
        assert [blob.meta for blob in outcomes] == [{"n": 1}, {"n": 2}, {"mood": "bad", "n": 3}, {"n": 4}]

        again = [replace(blob.ref, stored_version=blob.version) for blob in outcomes[1:3]]
        assert [type(outcome) for outcome in source.read(again)] == [Unchanged, Unchanged]
        relabelled = [replace(ref, meta={"n": 9}) for ref in again]
        assert [type(outcome) for outcome in source.read(relabelled)] == [Blob, Blob]
        bare = [replace(ref, meta={}) for ref in again]
        assert [type(outcome) for outcome in source.read(bare)] == [Blob, Blob]


# ---- encodings

STREET = "path,street,n\nimages/dog.jpg,Straße,1\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_table_is_read_in_the_encoding_that_its_mark_tells(folder: Path, name: str, encoding: str) -> None:
    row = json.dumps({"path": "images/dog.jpg", "street": "Straße", "n": 1}, ensure_ascii=False)
    text = STREET if name == "a.csv" else row
    file = write(folder / name, text.encode(encoding))
    assert metas(table(file)) == [{"street": "Straße", "n": 1}]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_text_in_no_known_encoding_is_a_bad_row_that_says_what_to_set(folder: Path, name: str) -> None:
    lines = [{"path": "images/emu.jpg", "deep": ["plain"]}, {"path": "images/dog.jpg", "deep": [{"street": "Straße"}]}]
    rows = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    file = write(
        folder / name, (STREET.replace("\n", "\nimages/emu.jpg,,\n", 1) if name == "a.csv" else rows).encode("latin-1")
    )
    source = table(file)
    assert len(metas(source)) == 1
    ((reason, detail),) = rejects(source)
    assert reason == "bad_row"
    assert detail.startswith("row 3: byte 0xDF" if name == "a.csv" else "row 2: byte 0xDF")
    assert "--set table.encoding=latin-1" in detail


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_table_is_read_in_the_encoding_that_is_set(folder: Path, name: str) -> None:
    row = json.dumps({"path": "images/dog.jpg", "street": "Straße", "n": 1}, ensure_ascii=False)
    file = write(folder / name, (STREET if name == "a.csv" else row).encode("cp1252"))
    assert metas(table(file, **{"table.encoding": "cp1252"})) == [{"street": "Straße", "n": 1}]


def test_an_encoding_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match="'latin-42' is no encoding of text"):
        Settings.load({"table.encoding": "latin-42"})


# ---- images that stand in the table


def images_table(file: Path, column: Any, **columns: Any) -> Path:
    return parquet(file, {"image": column, **columns})


def bytes_of(source: TableSource, listed: list[Ref]) -> list[bytes | str]:
    return [outcome.data if isinstance(outcome, Blob) else str(outcome) for outcome in source.read(listed)]


@pytest.mark.parametrize("kind", ["struct", "large_struct", "binary", "large_binary", "binary_view"])
def test_a_column_of_bytes_holds_the_images_themselves(folder: Path, kind: str) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    contents = [f"image {n}".encode() for n in range(100)]
    plain = {"binary": arrow.binary(), "large_binary": arrow.large_binary(), "binary_view": arrow.binary_view()}
    column = arrow.array(contents, type=plain.get(kind, arrow.binary()))
    if kind.endswith("struct"):
        inner = arrow.array(contents, type=arrow.large_binary() if kind == "large_struct" else arrow.binary())
        names = arrow.array([f"sub/img{n}.jpg" for n in range(99)] + [None])
        column = arrow.StructArray.from_arrays([inner, names], names=["bytes", "path"])
    file = images_table(folder / "a.parquet", column, label=list(range(100)))
    source = table(file)
    with closing(source):
        listed = [item for item in source.list() if isinstance(item, Ref)]
        assert [ref.meta for ref in listed] == [{"label": n} for n in range(100)]
        assert listed[6].uri == f"{uri_of(file)}#column=image&row=7"
        named = kind.endswith("struct")
        assert (listed[6].filename, listed[6].folder) == (("img6.jpg", "sub") if named else ("a-7", ""))
        assert listed[99].filename == "a-100"
        assert bytes_of(source, listed) == contents
        assert bytes_of(source, [listed[70], listed[3], listed[99]]) == [contents[70], contents[3], contents[99]]


def test_rows_of_many_groups_are_found_by_many_threads(folder: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    contents = [f"image {n}".encode() for n in range(1000)]
    file = folder / "a.parquet"
    pytest.importorskip("pyarrow.parquet").write_table(arrow.table({"jpg": contents}), file, row_group_size=77)
    source = table(file)
    with closing(source), ThreadPoolExecutor(8) as pool:
        listed = [item for item in source.list() if isinstance(item, Ref)]
        chunks = [listed[start : start + 32] for start in range(0, 1000, 32)]
        read = [data for part in pool.map(lambda chunk: bytes_of(source, chunk), chunks) for data in part]
    assert read == contents


def test_a_row_without_bytes_is_a_reject_and_a_column_without_any_gives_addresses(folder: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")

    def column(contents: list[bytes | None]) -> Any:
        paths = arrow.array(["images/dog.jpg", "images/emu.jpg"])
        return arrow.StructArray.from_arrays([arrow.array(contents, type=arrow.binary()), paths], ["bytes", "path"])

    some = table(images_table(folder / "a.parquet", column([b"dog in the table", None])))
    none = table(images_table(folder / "b.parquet", column([None, None])))
    with closing(some), closing(none):
        dog, emu = some.read([item for item in some.list() if isinstance(item, Ref)])
        assert isinstance(dog, Blob)
        assert isinstance(emu, Reject)
        assert (emu.reason, emu.detail) == ("missing", "row 2: column 'image' holds nothing there")
        assert bytes_of(none, [item for item in none.list() if isinstance(item, Ref)]) == [b"dog", b"emu"]


def test_a_table_that_changes_after_its_listing_gives_rejects(folder: Path) -> None:
    file = images_table(folder / "a.parquet", [b"one", b"two"])
    source = table(file)
    with closing(source):
        listed = [item for item in source.list() if isinstance(item, Ref)]
        images_table(folder / "a.parquet", [b"one", b"another"])
        assert [each.reason for each in source.read(listed) if isinstance(each, Reject)] == ["changed_meanwhile"] * 2


def test_an_image_in_a_table_may_not_be_larger_than_an_image_may(folder: Path) -> None:
    source = table(images_table(folder / "a.parquet", [b"x" * 101]), **{"limits.max_bytes": 100})
    with closing(source):
        (outcome,) = source.read([item for item in source.list() if isinstance(item, Ref)])
    assert isinstance(outcome, Reject)
    assert outcome.reason == "too_large"
