from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

from tests.doubles import WebServer, moto_server, proxy_to

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The address of an S3 server in another process."""
    with moto_server() as url:
        yield url


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keys that moto takes, and nothing of this machine's own configuration."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_CONFIG_FILE": str(tmp_path / "aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "aws-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def s3(moto: str) -> Iterator["S3Client"]:
    """A plain client, to put objects with; the buckets are emptied by ``bucket``."""
    client = boto3.client("s3", endpoint_url=moto, region_name="us-east-1")
    yield client
    client.close()


@pytest.fixture
def bucket(s3: "S3Client", request: pytest.FixtureRequest) -> str:
    """A fresh bucket of the test's own."""
    name = f"b{abs(hash(request.node.nodeid))}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def line(moto: str) -> Iterator[WebServer]:
    """The line to the S3 server, on which faults can be scripted and requests counted."""
    with WebServer(proxy_to(moto)) as server:
        yield server
