"""Texts of many callers, embedded together: what has arrived while the model worked, and no timer."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from connector.errors import ModelError, Overloaded
from connector.records import Vectors
from connector.service.batching import AdmissionQueue, TextBatcher
from connector.service.metrics import Metrics


class Model:
    """A model that notes its batches and works as long as it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.working = threading.Event()
        self.may_end = threading.Event()

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.batches.append([*texts])
        self.working.set()
        assert self.may_end.wait(30)
        if "broken" in texts:
            raise ModelError("no memory")
        return np.array([[len(text)] for text in texts], dtype=np.float32)


def run(case: Callable[[TextBatcher, Model], Coroutine[Any, Any, None]], *, queue: int = 100, batch: int = 64) -> Model:
    model = Model()

    async def within() -> None:
        async with TextBatcher(model.embed, queue=queue, batch=batch, metrics=Metrics()) as batcher:
            try:
                await case(batcher, model)
            finally:
                model.may_end.set()

    asyncio.run(within())
    return model


async def busy(batcher: TextBatcher, model: Model) -> "asyncio.Task[Any]":
    """Keep the model at work on a first text."""
    first = asyncio.create_task(batcher.vector_of("first"))
    assert await asyncio.to_thread(model.working.wait, 30)
    return first


async def asked(batcher: TextBatcher, texts: Sequence[str]) -> "list[asyncio.Task[Any]]":
    """Ask for texts, and let them reach the queue."""
    tasks = [asyncio.create_task(batcher.vector_of(text)) for text in texts]
    await asyncio.sleep(0)
    return tasks


def test_what_arrives_while_the_model_works_is_the_next_batch() -> None:
    async def case(batcher: TextBatcher, model: Model) -> None:
        first = await busy(batcher, model)
        later = await asked(batcher, ["a", "bb", "ccc"])
        model.may_end.set()
        await first
        assert [float((await each)[0]) for each in later] == [1, 2, 3]

    assert run(case).batches == [["first"], ["a", "bb", "ccc"]]


def test_a_batch_is_no_larger_than_it_may_be() -> None:
    async def case(batcher: TextBatcher, model: Model) -> None:
        first = await busy(batcher, model)
        later = await asked(batcher, ["a", "b", "c"])
        model.may_end.set()
        await asyncio.gather(first, *later)

    assert run(case, batch=2).batches == [["first"], ["a", "b"], ["c"]]


def test_a_full_queue_says_when_to_come_again() -> None:
    async def case(batcher: TextBatcher, model: Model) -> None:
        await busy(batcher, model)
        await asked(batcher, ["a", "b"])
        with pytest.raises(Overloaded, match="2 questions wait") as caught:
            await batcher.vector_of("c")
        assert caught.value.retry_after > 0

    run(case, queue=2)


def test_a_caller_that_gives_up_leaves_the_queue_and_makes_room() -> None:
    async def case(batcher: TextBatcher, model: Model) -> None:
        first = await busy(batcher, model)
        given_up, _ = await asked(batcher, ["given up", "kept"])
        given_up.cancel()
        await asyncio.wait([given_up])
        (new,) = await asked(batcher, ["new"])  # the queue of two was full before
        model.may_end.set()
        await asyncio.gather(first, new)

    assert run(case, queue=2).batches == [["first"], ["kept", "new"]]


def test_a_fault_of_the_model_reaches_those_who_asked_and_nobody_else() -> None:
    async def case(batcher: TextBatcher, model: Model) -> None:
        model.may_end.set()
        with pytest.raises(ModelError, match="no memory"):
            await batcher.vector_of("broken")
        assert (await batcher.vector_of("whole"))[0] == 5

    run(case)


def test_the_event_loop_goes_on_while_the_model_works() -> None:
    async def case(batcher: TextBatcher, model: Model) -> None:
        first = await busy(batcher, model)
        model.may_end.set()  # said by the loop: were it held up, the model would wait for it in vain
        await first

    run(case)


def test_turns_are_bounded_at_work_and_in_the_queue() -> None:
    async def case() -> None:
        turns = AdmissionQueue(at_once=1, queue=1)
        leave = asyncio.Event()

        async def work() -> None:
            async with turns.slot():
                await leave.wait()

        working, waiting = (asyncio.create_task(work()) for _ in range(2))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await work()
        waiting.cancel()
        await asyncio.wait([waiting])
        another = asyncio.create_task(work())
        leave.set()
        await asyncio.gather(working, another)

    asyncio.run(case())
