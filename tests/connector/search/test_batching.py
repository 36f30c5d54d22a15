"""Texts of many callers, embedded together: what has arrived while the model worked, and no timer."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from connector import AsyncImageSearch, ImageSearch, InvalidQuery, Settings, point, text
from connector.errors import ModelError, Overloaded
from connector.records import Vectors
from connector.search.async_client import embed_parts
from connector.search.batching import TextBatcher
from connector.search.query import TextPart


class Model:
    """A model that notes its batches and works as long as it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.working = threading.Event()
        self.may_end = threading.Event()

    def embed(self, parts: Sequence[TextPart]) -> Vectors:
        texts = [part.text for part in parts]
        self.batches.append(texts)
        self.working.set()
        assert self.may_end.wait(30)
        if "broken" in texts:
            raise ModelError("no memory")
        if "wrong" in texts:
            raise InvalidQuery("one of the texts is wrong")
        return np.array([[len(text)] for text in texts], dtype=np.float32)


def run(case: Callable[[TextBatcher, Model], Coroutine[Any, Any, None]], *, queue: int = 100, batch: int = 64) -> Model:
    model = Model()

    async def within() -> None:
        batcher = TextBatcher(model.embed, queue=queue, batch=batch)
        try:
            await case(batcher, model)
        finally:
            model.may_end.set()
            await batcher.close()

    asyncio.run(within())
    return model


async def busy(batcher: TextBatcher, model: Model) -> "asyncio.Task[Any]":
    """Keep the model at work on a first text."""
    first = asyncio.create_task(batcher.vector_of(TextPart("first")))
    assert await asyncio.to_thread(model.working.wait, 30)
    return first


async def waiting(batcher: TextBatcher, texts: Sequence[str]) -> "list[asyncio.Task[Any]]":
    """Ask for texts, and let them reach the queue."""
    tasks = [asyncio.create_task(batcher.vector_of(TextPart(each))) for each in texts]
    await asyncio.sleep(0)
    return tasks


def test_what_arrives_while_the_model_works_is_the_next_batch() -> None:
    async def case(batcher: TextBatcher, model: Model) -> None:
        first = await busy(batcher, model)
        later = await waiting(batcher, ["a", "bb", "ccc"])
        model.may_end.set()
        await first
        assert [float((await each)[0]) for each in later] == [1, 2, 3]

    assert run(case).batches == [["first"], ["a", "bb", "ccc"]]


def test_a_batch_is_no_larger_than_it_may_be() -> None:
    async def case(batcher: TextBatcher, model: Model) -> None:
        first = await busy(batcher, model)
        later = await waiting(batcher, ["a", "b", "c"])
        model.may_end.set()
        await asyncio.gather(first, *later)

    assert run(case, batch=2).batches == [["first"], ["a", "b"], ["c"]]


def test_a_full_queue_says_when_to_come_again() -> None:
    async def case(batcher: TextBatcher, model: Model) -> None:
        await busy(batcher, model)
        await waiting(batcher, ["a", "b"])
        with pytest.raises(Overloaded, match="2 questions wait") as caught:
            await batcher.vector_of(TextPart("c"))
        assert caught.value.retry_after > 0

    run(case, queue=2)


def test_a_caller_that_gives_up_leaves_the_queue_and_makes_room() -> None:
    async def case(batcher: TextBatcher, model: Model) -> None:
        first = await busy(batcher, model)
        given_up, _ = await waiting(batcher, ["given up", "kept"])
        given_up.cancel()
        await asyncio.wait([given_up])
        (new,) = await waiting(batcher, ["new"])  # the queue of two was full before
        model.may_end.set()
        await asyncio.gather(first, new)

    assert run(case, queue=2).batches == [["first"], ["kept", "new"]]


def test_a_fault_of_the_model_reaches_those_who_asked_and_nobody_else() -> None:
    async def case(batcher: TextBatcher, model: Model) -> None:
        model.may_end.set()
        with pytest.raises(ModelError, match="no memory"):
            await batcher.vector_of(TextPart("broken"))
        assert (await batcher.vector_of(TextPart("whole")))[0] == 5

    run(case)


def test_a_text_that_the_model_refuses_fails_alone() -> None:
    async def case(batcher: TextBatcher, model: Model) -> None:
        model.may_end.set()
        answers = await asyncio.gather(
            *(batcher.vector_of(TextPart(each)) for each in ("a", "wrong", "ccc")), return_exceptions=True
        )
        assert [type(each) for each in answers] == [np.ndarray, InvalidQuery, np.ndarray]

    run(case)


def test_the_event_loop_goes_on_while_the_model_works() -> None:
    async def case(batcher: TextBatcher, model: Model) -> None:
        first = await busy(batcher, model)
        model.may_end.set()  # said by the loop: were it held up, the model would wait for it in vain
        await first

    run(case)


def test_whoever_waits_when_it_is_closed_is_cancelled() -> None:
    async def case(batcher: TextBatcher, model: Model) -> None:
        first = await busy(batcher, model)
        (later,) = await waiting(batcher, ["later"])
        model.may_end.set()
        await batcher.close()
        done, _ = await asyncio.wait([first, later])
        assert all(each.cancelled() for each in done)

    run(case)


def test_one_batcher_serves_event_loops_of_several_threads() -> None:
    model = Model()
    model.may_end.set()
    batcher = TextBatcher(model.embed, queue=100, batch=64)
    lengths: list[float] = []

    async def ask() -> None:
        found = await asyncio.gather(*(batcher.vector_of(TextPart("x" * each)) for each in range(1, 33)))
        lengths.extend(float(each[0]) for each in found)

    threads = [threading.Thread(target=asyncio.run, args=(ask(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(lengths) == sorted([*range(1, 33)] * 4)
    asyncio.run(batcher.close())


# AsyncImageSearch


@pytest.fixture(scope="module")
def search(noto: Settings) -> Iterator[ImageSearch]:
    with ImageSearch.open(settings=noto) as opened:
        yield opened


class Counted:
    """An AsyncImageSearch that notes how many texts went through the model together."""

    def __init__(self, search: ImageSearch, *, queue: int = 100) -> None:
        self.passes: list[int] = []
        batcher = TextBatcher(
            partial(embed_parts, search),
            queue=queue,
            batch=64,
            on_batch=lambda texts, _: self.passes.append(texts),
        )
        self.search = AsyncImageSearch(search, batcher=batcher)


@pytest.mark.parametrize("options", [{}, {"language": "de"}, {"where": "width > 10", "relevant": True}], ids=str)
def test_64_questions_that_wait_together_make_one_or_two_passes(search: ImageSearch, options: Any) -> None:
    texts = [f"Hund Nummer {number} {options}" for number in range(64)]
    search.count(where=options.get("where"))  # the fields of the collection are known from here on
    asked = Counted(search)

    async def ask() -> list[Any]:
        return await asyncio.gather(*(asked.search.text(each, limit=3, **options) for each in texts))

    answers = asyncio.run(ask())

    assert sum(asked.passes) == 64
    assert len(asked.passes) <= 2
    assert answers == search.texts(texts, limit=3, **options)


def test_questions_of_every_kind_share_a_pass(search: ImageSearch) -> None:
    boat = search.text("Segelboot", limit=1)[0].id
    asked = Counted(search)

    async def ask() -> tuple[Any, ...]:
        return await asyncio.gather(
            asked.search.text("eine Katze im Gras"),
            asked.search.query(text("a cat on grass") + point(boat) - 0.5 * text("people on grass")),
            asked.search.groups("кошка на траве", by="folder"),
            asked.search.facets("folder", of="un gato en la hierba"),
            asked.search.facets("folder"),
            asked.search.query(point(boat)),
        )

    answers = asyncio.run(ask())

    assert asked.passes == [5]
    assert answers[0] == search.text("eine Katze im Gras")
    assert answers[2] == search.groups("кошка на траве", by="folder")
    assert answers[4] == search.facets("folder")


def test_one_bad_question_of_many_fails_its_own_caller_before_the_model_is_asked(search: ImageSearch) -> None:
    asked = Counted(search)
    wrong: list[tuple[str, dict[str, Any]]] = [
        (" ", {}),
        ("x\x00", {}),
        ("dog", {"limit": 0}),
        ("dog", {"language": "no tag"}),
        ("dog", {"where": "widht > 1"}),
    ]

    async def ask() -> list[Any]:
        good = [asked.search.text(f"ein Pferd {number}") for number in range(59)]
        bad = [asked.search.text(each, **options) for each, options in wrong]
        return await asyncio.gather(*bad, *good, return_exceptions=True)

    answers = asyncio.run(ask())

    assert [type(each) for each in answers[:5]] == [InvalidQuery] * 5
    assert all(len(each) == 10 for each in answers[5:])
    assert sum(asked.passes) == 59


def test_more_questions_than_may_wait_are_told_to_come_again(search: ImageSearch) -> None:
    asked = Counted(search, queue=8)

    async def ask() -> list[Any]:
        many = (asked.search.text(f"ein Schaf {number}") for number in range(20))
        return await asyncio.gather(*many, return_exceptions=True)

    answers = asyncio.run(ask())

    assert sum(isinstance(each, Overloaded) for each in answers) == 12
    assert sum(asked.passes) == 8


def test_a_question_that_is_cancelled_costs_the_others_nothing(search: ImageSearch) -> None:
    asked = Counted(search)

    async def ask() -> list[Any]:
        tasks = [asyncio.create_task(asked.search.text(f"eine Ziege {number}")) for number in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(ask())

    assert [isinstance(each, asyncio.CancelledError) for each in answers] == [False, True, False, False]


def test_an_open_search_goes_on_in_a_new_event_loop(search: ImageSearch) -> None:
    opened = AsyncImageSearch(search)
    first = asyncio.run(opened.text("a horse in a new loop"))
    assert asyncio.run(opened.text("a horse in a new loop")) == first
