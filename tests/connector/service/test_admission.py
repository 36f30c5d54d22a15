"""Costly work is bounded by threads and bytes, and holds them until it has really ended."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
import psutil
import pytest
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from benchmarks.attacks import get, hang_up, measured, post_image
from connector import Settings
from connector.errors import Overloaded, UnreadableImage
from connector.images.decode import decode_memory
from connector.service.admission import Abandoned, AdmissionQueue, ByteBudget, ImageAdmission, Slot
from connector.service.metrics import Metrics
from tests.connector.service.conftest import copied, serving
from tests.corpus_files import saved, scene
from tests.images import image

MIB = 2**20


class Work:
    """Work that begins, and goes on until it is told to end."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.at_work = self.most_at_work = 0
        self._lock = threading.Lock()

    def __call__(self, slot: Slot) -> str:
        with self._lock:
            self.at_work += 1
            self.most_at_work = max(self.most_at_work, self.at_work)
        self.begun.set()
        assert self.may_end.wait(30)
        with self._lock:
            self.at_work -= 1
        slot.check()
        return "done"


def run(case: Callable[[AdmissionQueue], Coroutine[Any, Any, None]], *, threads: int = 1, queue: int = 10) -> None:
    async def within() -> None:
        admission = AdmissionQueue(threads=threads, queue=queue, name="test")
        try:
            await asyncio.wait_for(case(admission), 30)
        finally:
            await asyncio.to_thread(admission.close)

    asyncio.run(within())


async def left(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def test_a_caller_that_leaves_frees_its_place_only_when_its_work_has_ended() -> None:
    work = Work()

    async def case(admission: AdmissionQueue) -> None:
        first = asyncio.create_task(admission.run(work))
        assert await asyncio.to_thread(work.begun.wait, 30)
        await left(first)
        second = asyncio.create_task(admission.run(work))
        await asyncio.sleep(0)
        assert (admission.waiting, work.at_work) == (1, 1)
        work.may_end.set()
        assert await second == "done"
        assert work.most_at_work == 1

    run(case)


def test_whoever_leaves_the_queue_is_never_worked_for() -> None:
    work = Work()
    begun: list[str] = []

    async def case(admission: AdmissionQueue) -> None:
        first = asyncio.create_task(admission.run(work))
        assert await asyncio.to_thread(work.begun.wait, 30)
        gone = asyncio.create_task(admission.run(lambda _: begun.append("gone")))
        last = asyncio.create_task(admission.run(lambda _: begun.append("last")))
        await asyncio.sleep(0)
        await left(gone)
        work.may_end.set()
        await asyncio.gather(first, last)
        assert begun == ["last"]

    run(case)


def test_more_than_may_wait_are_sent_away() -> None:
    work = Work()

    async def case(admission: AdmissionQueue) -> None:
        tasks = [asyncio.create_task(admission.run(work)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await admission.run(work)
        work.may_end.set()
        await asyncio.gather(*tasks)

    run(case, queue=1)


def test_what_work_raises_comes_to_its_caller_and_frees_the_place() -> None:
    async def case(admission: AdmissionQueue) -> None:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await admission.run(lambda _: 1 // 0)

    run(case)


def test_bytes_are_lent_in_the_order_of_asking_and_never_beyond_the_budget() -> None:
    lent: list[int] = []
    budget = ByteBudget(100, on_change=lent.append)
    threads = [threading.Thread(target=_borrow, args=(budget, size)) for size in (60, 100, 30, 70, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert max(lent) <= 100
    assert lent[-1] == 0


def _borrow(budget: ByteBudget, size: int) -> None:
    with budget.lent(size, slot=Slot()):
        pass


def test_whoever_waits_for_bytes_and_is_left_gives_up_and_the_next_has_its_turn() -> None:
    budget = ByteBudget(100)
    waiting, outcome = Slot(), []

    def wait() -> None:
        try:
            with budget.lent(100, slot=waiting):
                outcome.append("lent")
        except Abandoned:
            outcome.append("abandoned")

    with budget.lent(50, slot=Slot()):
        thread = threading.Thread(target=wait)
        thread.start()
        waiting.leave()
        thread.join(30)
        with budget.lent(50, slot=Slot()):
            assert outcome == ["abandoned"]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "JPEG2000", "GIF"])
def test_what_decoding_takes_is_told_by_the_header(kind: str) -> None:
    assert decode_memory(saved(scene(400, 300, seed=1), kind), size=320) >= 400 * 300 * 3


def test_a_jpeg_counts_as_it_is_decoded() -> None:
    large, progressive = (
        saved(scene(4000, 3000, seed=1), "JPEG"),
        saved(scene(4000, 3000, seed=1), "JPEG", progressive=True),
    )
    assert decode_memory(large, size=224) < 4000 * 3000 * 3
    assert decode_memory(progressive, size=224) > 4000 * 3000 * 6


def test_an_image_that_alone_needs_more_than_the_budget_is_refused() -> None:
    admission = ImageAdmission(threads=1, queue=1, file_bytes=MIB, decode_bytes=MIB, metrics=Metrics())
    with (
        closing(admission),
        pytest.raises(UnreadableImage, match=r"serve\.decode_bytes = 1,048,576 are allowed") as caught,
        admission.decoding(image(1, size=1000), size=320, slot=Slot()),
    ):
        pass
    assert caught.value.reason == "too_many_pixels"


LARGE = saved(scene(3000, 2000, seed=2), "WEBP")
"""Some 190 MiB to decode by its header."""


@contextmanager
def small_service(noto: Settings) -> Iterator[tuple[str, psutil.Process]]:
    with copied(noto) as settings, serving(settings, decode_bytes=str(256 * MIB)) as url:
        port = int(url.rpartition(":")[2])
        (process,) = [each for each in psutil.Process().children() if _listens(each, port)]
        yield url, process


def _listens(process: psutil.Process, port: int) -> bool:
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in process.net_connections())


@retry(retry=retry_if_result(lambda lent: lent > 0), stop=stop_after_delay(60), wait=wait_fixed(0.1))
def lent_bytes(url: str) -> float:
    metrics = httpx.get(f"{url}/metrics", timeout=240).text
    return next(float(line.split()[1]) for line in metrics.splitlines() if line.startswith("polyglance_decode_bytes "))


@pytest.mark.slow
def test_images_sent_along_and_hung_up_on_take_the_memory_of_one_at_a_time(noto: Settings) -> None:
    with small_service(noto) as (url, process):
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        assert httpx.post(f"{url}/v1/search/image", files={"file": LARGE}, timeout=240).status_code == 200
        with measured(process) as alone:
            httpx.post(f"{url}/v1/search/image", files={"file": LARGE}, timeout=240)
        with measured(process) as many:
            hang_up(address, [post_image("/v1/search/image", LARGE)] * 5)
        with measured(process) as labels:
            hang_up(address, [post_image("/v1/classify/image", LARGE, options='{"labels": ["a", "b"]}')] * 5)
        one = alone.peak_mib - alone.before_mib
        for cost in (many, labels):  # five at once would take five times as much; what the allocator keeps is left
            assert cost.peak_mib - cost.before_mib < 3 * max(one, 64)
        assert lent_bytes(url) == 0
        assert httpx.post(f"{url}/v1/search/image", files={"file": image(1)}, timeout=240).status_code == 200


def claiming_to_be_huge(kind: str) -> bytes:
    """A small image whose header says 10,000 by 10,000."""
    huge = bytearray(saved(scene(40, 30, seed=1), kind))
    at = huge.index(b"ihdr") + 4 if kind == "JPEG2000" else 18
    for offset in (at, at + 4):
        huge[offset : offset + 4] = (10_000).to_bytes(4, "big" if kind == "JPEG2000" else "little")
    return bytes(huge)


@pytest.mark.slow
def test_an_image_that_claims_to_be_huge_is_refused_by_its_header(noto: Settings) -> None:
    with small_service(noto) as (url, process):
        httpx.post(f"{url}/v1/search/image", files={"file": image(1)}, timeout=240)  # the image tower is loaded
        for kind in ("JPEG2000", "BMP"):
            with measured(process) as cost:
                answer = httpx.post(f"{url}/v1/search/image", files={"file": claiming_to_be_huge(kind)}, timeout=240)
            assert answer.status_code == 422, kind
            assert cost.peak_mib < cost.before_mib + 64, kind


@pytest.mark.slow
def test_thumbnails_hung_up_on_are_under_the_same_bound(noto: Settings) -> None:
    with small_service(noto) as (url, process):
        hits = httpx.post(f"{url}/v1/search", json={"text": "dog", "limit": 40}, timeout=240).json()["hits"]
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with measured(process) as cost:
            hang_up(address, [get(hit["thumbnail_url"]) for hit in hits])
        assert cost.peak_mib < cost.before_mib + 256
        assert lent_bytes(url) == 0
        assert httpx.get(f"{url}{hits[0]['thumbnail_url']}", timeout=240).status_code == 200
