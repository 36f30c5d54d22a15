"""A collection that another version of the pixels built is searched and filled, and says what to do."""

import logging
from pathlib import Path

import pytest

from connector.search.client import ImageSearch
from connector.settings import Settings
from connector.store.open import open_engine
from connector.store.schema import PIXELS_VERSION, CollectionSchema, Fingerprint, pixels_advice
from tests.conftest import CommandLine
from tests.images import write_images


def of_version(pixels: int) -> Fingerprint:
    return Fingerprint("mini", dims=128, image_size=64, pixels=pixels)


def test_a_collection_of_this_version_gives_no_advice() -> None:
    assert pixels_advice(of_version(PIXELS_VERSION), collection="photos") is None


def test_a_collection_of_an_older_version_goes_on_and_says_what_to_do(
    cli: CommandLine, tmp_path: Path, data_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    del data_folder
    loaded = Settings.load({"model.space": "mini"})
    engine = open_engine(loaded.qdrant, collection=loaded.collection)
    engine.create(CollectionSchema(of_version(1)))
    engine.close()
    write_images(tmp_path / "photos", ["1.png", "2.png"])

    with caplog.at_level(logging.WARNING):
        assert cli("ingest", tmp_path / "photos", "--space", "mini").code == 0
        assert "--recreate" in caplog.text
        caplog.clear()
        with ImageSearch.open(settings=loaded) as search:
            assert len(search.text("a dog")) == 2
            assert len(search.image(tmp_path / "photos" / "1.png")) == 2
    assert caplog.text.count("pixels_differ") == 1
    engine = open_engine(loaded.qdrant, collection=loaded.collection)
    assert engine.info().schema.fingerprint.pixels == 1
    engine.close()
