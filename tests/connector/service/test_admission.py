"""Requests that embed images go one after the other, and wait in a bounded queue."""

import asyncio

import pytest

from connector.errors import Overloaded
from connector.service.questions import AdmissionQueue


def test_callers_are_bounded_at_work_and_in_the_queue() -> None:
    async def case() -> None:
        admission = AdmissionQueue(at_once=1, queue=1)
        leave = asyncio.Event()

        async def work() -> None:
            async with admission.slot():
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
