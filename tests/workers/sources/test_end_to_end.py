import io
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from connector.settings import Settings
from connector.store.open import open_engine
from tests.doubles import Answer, WebServer
from workers.pipeline.counters import RunReport
from workers.run.ingestion import ingest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def image(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (80, 64), colour).save(file, "PNG")
    return file.getvalue()


def quiet(_: Any) -> AbstractContextManager[None]:
    return nullcontext()


def run(places: list[str], settings: Settings) -> RunReport:
    return ingest(places, settings=settings, recreate=False, show=quiet, wait=quiet).report


@pytest.fixture
def site() -> Iterator[WebServer]:
    with WebServer(lambda *_: Answer(200, image("white"), {"Content-Type": "image/png"})) as server:
        yield server


@pytest.fixture
def places(tmp_path: Path, s3: "S3Client", bucket: str, site: WebServer) -> list[str]:
    """One image or two in each kind of place."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "red.png").write_bytes(image("red"))
    (folder / "red.txt").write_text("all red")
    (folder / "broken.png").write_bytes(b"no image")
    s3.put_object(Bucket=bucket, Key="a/green.png", Body=image("green"), Metadata={"mood": "good"})
    s3.put_object(Bucket=bucket, Key="b/blue.png", Body=image("blue"))
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for name, data in (("0.png", image("pink")), ("0.json", b'{"year": 1999, "tags": ["pink"]}')):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (tmp_path / "table.csv").write_text(f"path,price\nphotos/red.png,1.5\ns3://{bucket}/b/blue.png,2.5\n")
    (tmp_path / "urls.txt").write_text(f"{site.url}/white.png\n")
    files = [str(tmp_path / name) for name in ("photos", "shard.tar", "urls.txt", "table.csv")]
    return [f"s3://{bucket}", *files]


@pytest.mark.slow
def test_images_of_every_source_are_stored_with_their_metadata_and_only_once(
    places: list[str], moto: str, tmp_path: Path
) -> None:
    settings = Settings.load(
        {
            "model.space": "mini",
            "qdrant.path": tmp_path / "data",
            "s3.endpoint_url": moto,
            "web.allow_networks": ["127.0.0.1/32"],
        }
    )
    *first, table = places
    counts = run(first, settings).counts
    assert (counts.listed, counts.stored, counts.unchanged, counts.rejected) == (6, 5, 0, 1)
    again = run(first, settings).counts
    assert (again.listed, again.stored, again.unchanged, again.rejected) == (6, 0, 5, 1)
    assert run([table], settings).counts.stored == 2  # the rows say something new about images that are there

    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        payloads = {point.payload["filename"]: point.payload for point in engine.scroll(limit=100).points}
    assert sorted(payloads) == ["0.png", "blue.png", "green.png", "red.png", "white.png"]
    assert payloads["green.png"]["meta"] == {"mood": "good"}
    assert payloads["0.png"]["meta"] == {"year": 1999}
    assert payloads["0.png"]["tags"] == ["pink"]
    assert payloads["blue.png"]["meta"] == {"price": 2.5}
    assert payloads["white.png"]["width"] == 80
    assert payloads["green.png"]["source"] == [places[0]]
