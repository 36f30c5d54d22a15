import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from connector.errors import SourceError
from connector.settings import Settings
from workers.sources.disk import DiskSource, uri_of
from workers.sources.open import open_source
from workers.sources.s3 import S3Source
from workers.sources.table import TableSource
from workers.sources.tar import TarSource
from workers.sources.urls import UrlListSource, UrlSource


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    return Settings.load({"s3.region": "us-east-1"})


@pytest.mark.parametrize(
    ("where", "kind"),
    [
        ("photos", DiskSource),
        ("dog.jpg", DiskSource),
        ("~/photos", DiskSource),
        ("folder.csv", DiskSource),
        ("s3://bucket", S3Source),
        ("s3://bucket/2024/dog.jpg", S3Source),
        ("S3://bucket/shard.tar", TarSource),
        ("s3://bucket/shards-{000..099}.tar", TarSource),
        ("shard.TAR", TarSource),
        ("{a,b}.tar", TarSource),
        ("https://example.org/dog.jpg", UrlSource),
        ("HTTP://example.org/a.csv", UrlSource),
        ("urls.txt", UrlListSource),
        ("photos.csv", TableSource),
        ("photos.tsv", TableSource),
        ("photos.jsonl", TableSource),
        ("photos.NDJSON", TableSource),
        ("photos.parquet", TableSource),
    ],
)
def test_the_form_of_the_argument_tells_the_kind_of_source(where: str, kind: type, settings: Settings) -> None:
    Path("folder.csv").mkdir()
    with closing(open_source(where, settings=settings)) as source:
        assert type(source) is kind


def test_a_file_uri_names_a_path(settings: Settings, tmp_path: Path) -> None:
    with closing(open_source(uri_of(tmp_path / "a b"), settings=settings)) as source:
        assert source.root == uri_of(tmp_path / "a b")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("ftp://host/photos", "ftp:// is not read"),
        ("gs://bucket", "gs:// is not read"),
        ("shard.tar.gz", "Unpack it to a plain .tar"),
        ("s3://bucket/shard.tgz", "Unpack it to a plain .tar"),
        ("file://elsewhere/photos", "no file URI of this machine"),
        ("s3://", "names no bucket"),
        ("http://", "no http or https address"),
    ],
)
def test_what_is_no_source_is_an_error_that_says_what_would_be(where: str, message: str, settings: Settings) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(where, settings=settings)


def test_opening_a_folder_imports_neither_boto3_nor_httpx_nor_torch() -> None:
    code = (
        "import sys; from connector.settings import Settings; from workers.sources.open import open_source;"
        "open_source('.', settings=Settings.load());"
        "sys.exit(len({'boto3', 'httpx', 'torch', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
