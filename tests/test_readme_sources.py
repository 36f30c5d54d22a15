"""Each command of the README's table of sources, run as it stands; only the two addresses lead to this machine."""

import io
import re
import shlex
import tarfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tests.conftest import CommandLine
from tests.doubles import Answer, WebServer, moto_server
from tests.images import image, write_images

README = Path(__file__).parents[1] / "README.md"
COMMANDS = re.findall(r"^\| [^|]+ \| `polyglance (ingest [^`]+)` \|$", README.read_text(encoding="utf-8"), re.MULTILINE)
STORE, SITE = "http://localhost:9000", "https://example.org"


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """An S3 store with a bucket named bucket."""
    with moto_server() as address:
        client = boto3.client(
            "s3", endpoint_url=address, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
        )
        client.create_bucket(Bucket="bucket")
        client.put_object(Bucket="bucket", Key="prefix/a.png", Body=image(1))
        yield address


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """A web site whose every address is an image."""
    with WebServer(lambda *_: Answer(200, image(2), {"Content-Type": "image/png"})) as server:
        yield server.url


@pytest.fixture
def home(workplace: Path, site: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with everything that the table names."""
    write_images(workplace, ["Pictures/beach.png"])
    (workplace / "products.csv").write_text("path,price\nPictures/beach.png,9.5\n")
    (workplace / "urls.txt").write_text(f"{site}/cat.png\n")
    for number in range(4):
        with tarfile.open(workplace / f"shards-{number:03d}.tar", "w") as tar:
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(image(10 + number))
            tar.addfile(member, io.BytesIO(image(10 + number)))
    for name, value in {"HOME": workplace, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("POLYGLANCE_WEB__ALLOW_NETWORKS", '["127.0.0.1/32"]')
    return workplace


def test_the_table_has_a_command_for_every_source() -> None:
    assert len(COMMANDS) == 5


@pytest.mark.usefixtures("home", "data_folder")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_table_ingests_everything(command: str, store: str, site: str, cli: CommandLine) -> None:
    words = shlex.split(command.replace(STORE, store).replace(SITE, site))
    words = [str(Path(word).expanduser()) if word.startswith("~") else word for word in words]

    ran = cli(*words, "--space", "mini", "--json")

    assert ran.code == 0, ran.err
    assert ran.json["stored"] == ran.json["listed"] >= 1
