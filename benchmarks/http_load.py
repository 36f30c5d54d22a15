"""Many callers of one HTTP address at once, each with a connection of its own, at little cost to the machine."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Load:
    """What callers met: seconds of each answered request, and how often each status came."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lasted: float = 0.0


async def load(address: tuple[str, int], *, clients: int, for_s: float, body: Callable[[], Any]) -> Load:
    """Let ``clients`` callers post ``body()`` to /v1/search, each its next as soon as it has its answer."""
    met = Load()
    started = time.perf_counter()
    end = started + for_s
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(_call_until(end, address, body=body, met=met))
    met.lasted = time.perf_counter() - started
    return met


async def _call_until(end: float, address: tuple[str, int], *, body: Callable[[], Any], met: Load) -> None:
    reader, writer = await asyncio.open_connection(*address)
    try:
        while time.perf_counter() < end:
            data = json.dumps(body()).encode()
            started = time.perf_counter()
            writer.write(
                b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % len(data) + data
            )
            status, retry_after = await _answer(reader)
            met.statuses[status] += 1
            if status == 200:
                met.seconds.append(time.perf_counter() - started)
            elif status == 429:
                await asyncio.sleep(retry_after)
    finally:
        writer.close()
        await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, float]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), float(headers.get("retry-after", 0))
