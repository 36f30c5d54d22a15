"""The LangChain store, used as LangChain uses one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.documents import Document

from connector.errors import ConfigError, IngestError, InvalidQuery
from connector.settings import Settings
from tests.images import write_images
from workers.collection.client import Collection
from workers.collection.langchain import ImageStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    settings = Settings.load({"model.space": "mini", "qdrant.path": str(tmp_path / "data")})
    with Collection.open(settings=settings) as collection:
        yield ImageStore(collection, content="meta.name")


def test_images_come_are_found_and_go(store: ImageStore, tmp_path: Path) -> None:
    write_images(tmp_path / "album", ["a.png", "b.png", "c.png"])
    paths = [str(tmp_path / "album" / name) for name in ("a.png", "b.png", "c.png")]

    ids = store.add_images(paths[:2], metadatas=[{"name": "first"}, {"name": "second"}])
    ids += asyncio.run(store.aadd_images(paths[2:], ids=["the third"]))

    found = store.similarity_search("a dog", k=2)
    assert len(found) == 2
    assert all(isinstance(each, Document) and each.id in ids for each in found)
    assert [each.page_content for each in store.similarity_search("a dog", where='filename == "a.png"')] == ["first"]
    retriever = store.as_retriever(search_kwargs={"k": 3})
    assert sorted(str(each.id) for each in retriever.invoke("a dog")) == sorted(ids)
    assert len(asyncio.run(retriever.ainvoke("a dog"))) == 3
    assert store.delete([ids[0]])
    assert asyncio.run(store.adelete([ids[1]]))
    assert [each.id for each in store.similarity_search("a dog")] == [ids[2]]


def test_what_is_wrong_is_told_and_the_others_are_stored(store: ImageStore, tmp_path: Path) -> None:
    write_images(tmp_path / "album", ["a.png"])
    good = str(tmp_path / "album" / "a.png")
    (tmp_path / "bad.png").write_bytes(b"no image")

    with pytest.raises(IngestError, match=r"1 of 2 images were not stored, such as .*bad\.png"):
        store.add_images([good, str(tmp_path / "bad.png")])

    assert [each.metadata["uri"] for each in store.similarity_search("a dog")] == [Path(good).as_uri()]
    with pytest.raises(InvalidQuery, match="name what to delete"):
        store.delete()
    with pytest.raises(ConfigError, match="holds images, and no texts"):
        ImageStore.from_texts(["a dog"], None)
    with pytest.raises(InvalidQuery, match="The nearest one is 'title'"):
        ImageStore(store._collection, content="titel")
