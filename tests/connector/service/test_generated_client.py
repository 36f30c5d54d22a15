"""A client that openapi-python-client makes of the service's own OpenAPI document does a day's work with it."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from connector import Settings
from tests.connector.service.conftest import copied, serving
from tests.images import write_images

TOOL = Path(sys.prefix) / "openapi-python-client" / "bin" / "openapi-python-client"
"""In an environment of its own, which `make openapi` makes: it wants an older typer than ours."""
CONFIG = "package_name_override: images_client\npost_hooks: []\n"
WORK = """
import sys
from io import BytesIO
from pathlib import Path

from images_client import AuthenticatedClient
from images_client.api.ask import search_v1_search_post as search
from images_client.api.browse import count_v1_count_get as count
from images_client.api.browse import page_v1_images_get as page
from images_client.api.images import change_v1_points_point_id_patch as change
from images_client.api.images import thumbnail_thumbnails_point_id_webp_get as thumbnail
from images_client.api.write import add_v1_images_post as add
from images_client.api.write import delete_v1_images_delete as delete
from images_client.models import (
    BodyAddV1ImagesPost, ChangeRequest, ChangeRequestMetaType0, ProblemAnswer, SearchRequest
)
from images_client.types import File

url, key, *paths = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=key, timeout=120)
before = count.sync(client=client).count

files = [File(BytesIO(Path(path).read_bytes()), file_name=Path(path).name, mime_type="image/png") for path in paths]
added = add.sync(client=client, body=BodyAddV1ImagesPost(file=files)).images
assert [each.status for each in added] == ["added", "added"], added
ids = [each.id for each in added]
assert count.sync(client=client).count == before + 2

seen, cursor = [], None
while True:
    listed = page.sync(client=client, limit=50, cursor=cursor)
    seen += [each.id for each in listed.images]
    cursor = listed.next_
    if not cursor:
        break
assert len(seen) == len(set(seen)) == before + 2 and set(ids) <= set(seen)

meta = ChangeRequestMetaType0()
meta["album"] = "Norderney"
changed = change.sync(ids[0], client=client, body=ChangeRequest(meta=meta))
assert changed.payload["meta"]["album"] == "Norderney"

found = search.sync(client=client, body=SearchRequest(text="ein Strand", where='filename == "beach.png"', limit=3))
assert [hit.id for hit in found.hits] == [ids[0]], found
assert thumbnail.sync_detailed(ids[0], client=client).status_code == 200

assert delete.sync(client=client, ids=ids).deleted == 2
assert count.sync(client=client).count == before
wrong = search.sync(client=client, body=SearchRequest(text="x", where="widht > 1"))
assert isinstance(wrong, ProblemAnswer) and "width" in wrong.error.message, wrong
"""


@pytest.mark.slow
@pytest.mark.skipif(not TOOL.is_file(), reason="openapi-python-client is not installed: make openapi")
def test_a_generated_client_adds_lists_changes_searches_and_removes(noto: Settings, tmp_path: Path) -> None:
    key = "a-long-secret-key"
    with copied(noto) as settings, serving(settings, api_keys=f'["{key}"]') as url:
        document = httpx.get(f"{url}/openapi.json", headers={"Authorization": f"Bearer {key}"}, timeout=240)
        (tmp_path / "openapi.json").write_text(document.text)
        (tmp_path / "config.yml").write_text(CONFIG)
        made = ["--path", "openapi.json", "--config", "config.yml", "--output-path", "images_client", "--meta", "none"]
        run(TOOL, "generate", *made, cwd=tmp_path)
        paths = write_images(tmp_path, ["beach.png", "walk.png"], first_seed=700)
        run(Path(sys.executable), "-c", WORK, url, key, *map(str, paths), cwd=tmp_path)


def run(program: Path, *arguments: str, cwd: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(cwd)}
    done = subprocess.run([program, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
