"""The example programs, each run as its user would run it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from connector.settings import Settings
from tests.images import image, write_images

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def run(program: str, *arguments: str, data: Path, cwd: Path) -> str:
    """What an example prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "POLYGLANCE_QDRANT__PATH": str(data)}
    command = [sys.executable, str(EXAMPLES / program), *arguments]
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_table_names_every_program() -> None:
    told = set(re.findall(r"\]\(([^)]+)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    assert {each.name for each in EXAMPLES.iterdir() if each.suffix in (".py", ".ipynb")} == told
    assert "examples/README.md" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_script_brings_a_folder_in_and_asks_again_without_reading(tmp_path: Path) -> None:
    write_images(tmp_path / "album", ["beach.jpg", "2024/walk.jpg"])
    asked = (str(tmp_path / "album"), "ein Strand")
    first = run("script.py", *asked, data=tmp_path / "data", cwd=tmp_path).splitlines()
    again = run("script.py", *asked, data=tmp_path / "data", cwd=tmp_path).splitlines()
    assert (first[0], again[0]) == ("2 new, 0 unchanged, 0 rejected", "0 new, 2 unchanged, 0 rejected")
    assert sorted(line.rpartition("/")[2] for line in first[1:]) == ["beach.jpg", "walk.jpg"]
    assert again[1:] == first[1:]


def test_the_application_adds_finds_and_removes(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from album_app import app  # type: ignore[import-not-found,unused-ignore]

    assert not data_folder.exists()
    with TestClient(app) as client:
        sent = client.post("/photos", files={"photo": ("beach.png", image(1))}, params={"album": "Norderney"})
        assert sent.status_code == 201, sent.text
        refused = client.post("/photos", files={"photo": ("note.txt", b"no image")})
        assert refused.status_code == 422
        (found,) = client.get("/photos", params={"text": "am Strand"}).json()
        assert (found["id"], found["album"], found["name"]) == (sent.json()["id"], "Norderney", "beach.png")
        assert client.get("/photos", params={"text": "am Strand", "where": "widht > 1"}).status_code == 422
        assert client.delete(f"/photos/{found['id']}").status_code == 204
        assert client.delete(f"/photos/{found['id']}").status_code == 404


@pytest.mark.slow
def test_the_notebook_runs_and_shows_images(noto: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("POLYGLANCE_QDRANT__PATH", str(noto.qdrant.path))
    monkeypatch.setenv("EXAMPLE_COLLECTION", noto.collection)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = nbformat.read(EXAMPLES / "explore.ipynb", as_version=4)
    kept = {"metadata": {"path": str(tmp_path)}}
    done = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=kept).execute()
    shown = [each for cell in done.cells for each in cell.get("outputs", []) if "text/html" in each.get("data", {})]
    assert len(shown) >= 2, "hits are thumbnails"
    assert "<img" in shown[0]["data"]["text/html"]
    assert all(not cell.get("outputs") for cell in nbformat.read(EXAMPLES / "explore.ipynb", as_version=4).cells)


@pytest.mark.slow
def test_the_agent_searches_and_looks_at_an_image(noto: Settings, tmp_path: Path) -> None:
    said = run("agent.py", "ein Hund", "--collection", noto.collection, data=noto.qdrant.path, cwd=tmp_path)
    assert said.startswith("tools: search, like, classify, facets, alerts, alert_matches\n")
    assert len(re.findall(r"^0\.\d{3}  file:///", said, re.MULTILINE)) == 3
    assert (tmp_path / "looked-at.webp").read_bytes()[8:12] == b"WEBP"
    assert "\nlike it: " in said


@pytest.mark.slow
def test_a_table_goes_in_and_comes_back(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed: pip install pandas")
    write_images(tmp_path, ["beach.png", "walk.png"])
    (tmp_path / "broken.png").write_bytes(b"no image")
    rows = ["image,price", "beach.png,12.5", "walk.png,3", "broken.png,1"]
    (tmp_path / "products.csv").write_text("\n".join(rows))
    said = run("table.py", str(tmp_path / "products.csv"), data=tmp_path / "data", cwd=tmp_path)
    assert said.startswith("2 stored, 0 unchanged, 1 rejected\n")
    assert "12.5" in said
    assert f"{tmp_path.as_uri()}/broken.png: " in said
