"""Alerts: each new image that fits a question that stays asked is told of, once."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from connector.errors import InvalidQuery
from connector.search.client import ImageSearch
from connector.store.engine import Engine
from connector.store.open import open_engine
from tests.conftest import CommandLine
from tests.qdrant_standin.standin import Standin
from tests.workers.alerts.conftest import Library, fill
from workers.collection.client import Collection

GUITARS = ("a guitar", "eine Gitarre", "una guitarra", "гитара", "ギター", "吉他", "गिटार", "גיטרה")


def told(file: Path) -> list[str]:
    """The names of the images that a file tells of."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line)["data"]["image"]["filename"] for line in lines]


def test_a_new_image_that_fits_is_told_of_once_in_every_language(library: Library) -> None:
    files = {question: library.top / f"{number}.jsonl" for number, question in enumerate(GUITARS)}
    for question, file in files.items():
        library.ask(question, relevance=0.7, notify=[f"file:{file}", f"rss:{file}.xml"])
    library.ask("a piano", relevance=0.9, notify=[f"file:{library.top / 'none.jsonl'}"])
    guitar = library.bring("objects/guitar.png")
    library.bring("animals-nature/butterfly.png")

    done = library.ingest()
    assert done.alerts is not None
    assert (done.alerts.told, done.alerts.waiting, done.alerts.down) == (len(GUITARS), 0, {})

    again = library.with_settings(ingest__verify="nothing")
    library.ingest()  # unchanged
    again.ingest()  # embedded again
    os.utime(guitar)
    library.ingest()  # read again
    library.bring("objects/guitar.png", under="copy.png")
    library.ingest()  # the same content in another place
    library.ingest(recreate=True)  # everything is new to the collection
    assert {question: told(file) for question, file in files.items()} == {each: ["guitar.png"] for each in GUITARS}
    assert all(Path(f"{file}.xml").read_text(encoding="utf-8").count("<item>") == 1 for file in files.values())
    assert told(library.top / "none.jsonl") == []
    assert library.payloads()["guitar.png"].get("alerts_due", []) == []


def test_what_lies_there_already_is_no_news_even_where_it_moves(library: Library) -> None:
    library.bring("objects/guitar.png")
    library.ingest()
    library.ask("a guitar", notify=[f"file:{library.top / 'told.jsonl'}"])
    (library.album / "guitar.png").rename(library.album / "moved.png")

    assert library.ingest().alerts is not None
    assert told(library.top / "told.jsonl") == []
    assert "alerts" not in library.payloads()["moved.png"]


@pytest.mark.slow
def test_an_alert_tells_of_what_a_search_would_find(library: Library) -> None:
    """The same law: marks are those of hits from the same relevance on, but for what lies close to the line."""
    objects = sorted((Path(__file__).parents[3] / "workers/demo/images/objects").glob("*.png"))
    arriving = [each for each in objects if each.stem in ("guitar", "bell", "camera", "crown", "trumpet", "violin")]
    arriving += [each for each in objects[1::8] if each not in arriving]
    for path in objects[::2]:
        if path not in arriving:
            library.bring(f"objects/{path.name}", under=f"old/{path.name}")
    library.ingest()
    questions = ["a guitar", "eine Trompete", "una campana", "ключ", "a camera", "鐘", "a crown", "a lock"]
    alerts = {question: library.ask(question, relevance=0.5).id for question in questions}
    for path in arriving:
        library.bring(f"objects/{path.name}", under=f"new/{path.name}")
    library.ingest()

    marks = {name: set(payload.get("alerts", ())) for name, payload in library.payloads().items()}
    found = 0
    with ImageSearch.open(settings=library.settings) as search:
        for question, alert in alerts.items():
            hits = search.text(question, where='folder == "new"', limit=1_000, understand=False)
            sure = {str(each.payload["filename"]) for each in hits if (each.relevance or 0) > 0.75}
            unsure = {str(each.payload["filename"]) for each in hits if (each.relevance or 0) < 0.25}
            marked = {name for name, told in marks.items() if alert in told}
            assert sure <= marked
            assert not unsure & marked
            found += len(sure)
    assert found


def test_filters_and_words_decide_too(library: Library) -> None:
    filtered = library.top / "filtered.jsonl"
    library.ask("a guitar", where='folder == "inbox"', notify=[f"file:{filtered}"])
    library.ask("Rechnung 4711", notify=[f"file:{library.top / 'words.jsonl'}"])
    library.bring("objects/guitar.png", under="elsewhere/guitar.png")
    library.bring("objects/violin.png", under="inbox/violin.png")
    library.bring("objects/key.png", under="rechnung-4711.png")
    library.ingest()
    assert told(filtered) == []
    assert told(library.top / "words.jsonl") == ["rechnung-4711.png"]

    library.bring("objects/guitar.png", under="inbox/guitar.png")  # its content is there already: no news
    library.ingest()
    assert told(filtered) == []


@pytest.mark.slow
def test_the_first_images_of_a_collection_are_judged_once_there_are_enough(workplace: Path, tmp_path: Path) -> None:
    del workplace
    library = Library(tmp_path / "new", {})
    few = sorted((Path(__file__).parents[3] / "workers/demo/images/objects").glob("*.png"))
    library.bring(f"objects/{few[0].name}")
    library.ingest()
    library.ask("a guitar", notify=[f"file:{library.top / 'told.jsonl'}"])
    library.bring("objects/guitar.png")
    first = library.ingest().alerts
    assert first is not None
    assert first.waiting == 1  # nobody can tell yet
    assert told(library.top / "told.jsonl") == []

    fill(library.album)
    assert library.ingest().alerts is not None
    assert told(library.top / "told.jsonl") == ["guitar.png"]


@pytest.mark.slow
def test_one_run_tells_of_no_more_than_it_may_and_loses_nothing(library: Library) -> None:
    """A question that fits nearly everything: a bound, a clear word, and the rest the next time."""
    alert = library.ask("a thing", relevance=0.000001, notify=[f"file:{library.top / 'told.jsonl'}"])
    names = sorted((Path(__file__).parents[3] / "workers/demo/images/objects").glob("*.png"))[:60]
    for each in names:
        library.bring(f"objects/{each.name}", under=f"new/{each.name}")
    few = library.with_settings(alerts__most=7)

    done = few.ingest().alerts
    assert done is not None
    fitting = sum(alert.id in each.get("alerts", ()) for each in library.payloads().values())
    assert fitting > 40
    assert (done.told, done.held) == (7, {alert.id: fitting - 7})
    while done.waiting:
        done = few.ingest().alerts
        assert done is not None
        assert done.told in (7, fitting % 7)
    lines = told(library.top / "told.jsonl")
    assert len(lines) == len(set(lines)) == fitting


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_both_engines_and_workers_tell_alike(library: Library, standin: Standin, workers: int, tmp_path: Path) -> None:
    here = library.with_settings(
        qdrant__url=standin.url,
        qdrant__grpc_port=standin.grpc_port,
        qdrant__collection=f"alerts-{workers}",
        ingest__workers=workers,
        alerts__local=True,
    )
    here.ingest()
    here.ask("une guitare", notify=[f"file:{tmp_path / 'told.jsonl'}"])
    here.ask("a guitar", where="width >= 64", notify=["mcp"])
    here.bring("objects/guitar.png")

    done = here.ingest().alerts
    assert done is not None
    assert (done.told, done.waiting) == (1, 0)
    assert told(tmp_path / "told.jsonl") == ["guitar.png"]
    assert len(here.payloads()["guitar.png"]["alerts"]) == 2


def test_on_a_server_no_file_is_written_unless_this_machine_allows_it(library: Library, standin: Standin) -> None:
    """Whoever writes into the collection on the server names the file."""
    here = library.with_settings(
        qdrant__url=standin.url, qdrant__grpc_port=standin.grpc_port, qdrant__collection="not-local"
    )
    here.ingest()
    here.ask("a guitar", notify=[f"file:{library.top / 'told.jsonl'}", f"command:touch {library.top / 'touched'}"])
    here.bring("objects/guitar.png")

    done = here.ingest().alerts
    assert done is not None
    assert (done.told, done.waiting, len(done.down)) == (0, 1, 2)
    assert all("alerts.local" in each for each in done.down.values())
    assert not (library.top / "told.jsonl").exists()
    assert not (library.top / "touched").exists()


def test_what_a_program_adds_is_told_of_too(library: Library) -> None:
    library.ask("a guitar", notify=[f"file:{library.top / 'told.jsonl'}"])
    images = Path(__file__).parents[3] / "workers/demo/images/objects"
    with Collection.open(settings=library.settings) as photos:
        photos.add((images / "guitar.png").read_bytes())
        photos.add(images / "violin.png")
    assert len(told(library.top / "told.jsonl")) == 1


def test_an_image_of_one_colour_fits_nothing(library: Library) -> None:
    from PIL import Image

    for question in ("a guitar", "ein Hund", "красный цвет", "the sea"):
        library.ask(question)
    for number, colour in enumerate(("white", "black", "red", "blue")):
        Image.new("RGB", (128, 128), colour).save(library.album / f"plain{number}.png")
    library.ingest()
    assert {name: each["alerts"] for name, each in library.payloads().items() if each.get("alerts")} == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"question": " "}, "is empty"),
        ({"question": "a dog", "where": "widht > 3"}, "width"),
        ({"question": "a dog", "relevance": 1.5}, "above 0 and below 1"),
        ({"question": "a dog", "language": "English"}, "a tag such as"),
        ({"question": "a dog", "notify": ["mail:me@example.org"]}, "one looks like webhook:"),
        ({"question": "a dog", "notify": ["webhook:ftp://example.org"]}, "no http or https address"),
        ({"question": "a dog", "notify": ["webhook:https://me:secret@example.org"]}, "name or password"),
        ({"question": "a dog", "notify": ["command:'half"]}, "taken apart"),
        ({"question": "a dog", "notify": ["file:x"], "guarded": True}, "told by webhook:http… or mcp"),
        ({"question": "a dog", "notify": ["webhook:env:TOKEN"], "guarded": True}, "told by webhook:http… or mcp"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_would_be_right(
    library: Library, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidQuery, match=said):
        library.ask(given.pop("question"), **given)


def test_the_commands_say_what_is_asked_and_what_fits(library: Library, cli: CommandLine) -> None:
    sets = [f"--set=qdrant.path={library.top / 'data'}", "--set=ingest.workers=0", "--space=mini"]
    added = cli("alert", "add", "ein Tiger", "--relevant", "0.6", "--notify", "webhook:https://hooks.example/T0/secret",
                "--notify", "command:curl -H token", "--json", *sets)  # fmt: skip
    assert added.json["notify"] == ["webhook:https://hooks.example/…", "command:curl …"]
    again = cli("alert", "add", "ein Tiger", "--notify", "mcp", *sets)
    assert added.json["id"] in again.out  # the same question is the same alert
    listed = cli("alert", "list", "--json", *sets).json["alerts"]
    assert [(each["question"], each["notify"], each["matches"], each["due"]) for each in listed] == [
        ("ein Tiger", ["mcp"], 0, 0)
    ]
    tested = cli("alert", "test", added.json["id"], "--json", *sets).json
    assert tested["points"] == len(library.payloads())
    assert cli("alert", "test", "a tiger", "-n", 1, *sets).code == 0
    assert cli("alert", "deliver", *sets).code == 0
    assert cli("alert", "remove", added.json["id"], *sets).code == 0
    assert cli("alert", "list", "--json", *sets).json["alerts"] == []
    assert cli("alert", "remove", added.json["id"], *sets).code == 2


def test_a_removed_alert_leaves_no_mark(library: Library) -> None:
    from connector.alerts.alert import remove_alert

    alert = library.ask("a guitar", notify=["webhook:http://127.0.0.1:9/"])
    library.bring("objects/guitar.png")
    library.with_settings(alerts__attempts=1).ingest()
    assert library.payloads()["guitar.png"]["alerts_due"] == [alert.id]
    settings = library.settings
    engine: Engine = open_engine(settings.qdrant, collection=settings.collection)
    try:
        remove_alert(engine, alert.id)
    finally:
        engine.close()
    marks = library.payloads()["guitar.png"]
    assert (marks["alerts"], marks["alerts_due"]) == ([], [])
