"""A service that writes, over a collection of its own: its application in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from connector import ImageSearch, Settings
from connector.service.app import create_app
from tests.images import image
from tests.scratch import scratch_folder
from workers.collection.client import Collection
from workers.service.app import writing

KEY, READ_KEY = "a-long-secret-key", "another-long-key"


@dataclass(frozen=True, slots=True)
class Desk:
    """A client of the service, and the folder that everything lies in."""

    client: TestClient
    folder: Path
    settings: Settings

    @property
    def files(self) -> list[str]:
        """The names of the files that were sent and are kept."""
        return sorted(each.name for each in (self.folder / "data" / ".uploads").rglob("*") if each.is_file())

    @property
    def count(self) -> int:
        return int(self.client.get("/v1/count").json()["count"])

    def add(self, *files: tuple[str, bytes], options: str = "{}") -> Any:
        answer = self.client.post("/v1/images", files=[("file", each) for each in files], data={"options": options})
        assert answer.status_code == 200, answer.text
        return answer.json()["images"]


@contextmanager
def desk_in(folder: Path, **given: Any) -> Iterator[Desk]:
    """A service over a new collection of one image."""
    settings = Settings.load(
        {
            "model.space": "mini",
            "qdrant.path": folder / "data",
            "serve.thumbnail_folder": folder / "thumbnails",
            "web.allow_networks": ["127.0.0.0/8"],
            **{f"serve.{name}": value for name, value in given.items()},
        }
    )
    with Collection.open(settings=settings) as collection:
        collection.add(image(0), id="first")
    app = create_app(ImageSearch.open(settings=settings), settings=settings, extend=writing)
    headers = {"Authorization": f"Bearer {KEY}"} if "api_keys" in given else {}
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1), headers=headers) as client:
        yield Desk(client, folder, settings)


@pytest.fixture(scope="module")
def shared_desk() -> Iterator[Desk]:
    with scratch_folder() as folder, desk_in(folder) as desk:
        yield desk


@pytest.fixture
def desk(shared_desk: Desk) -> Desk:
    """The service of the module, emptied but for its first image."""
    answer = shared_desk.client.delete("/v1/images", params={"where": 'source != "memory:"'})
    assert answer.status_code == 200, answer.text
    assert (shared_desk.count, shared_desk.files) == (1, [])
    return shared_desk
