"""The objects below a prefix of a bucket, page by page, several pages at once where there are many.

A listing comes in pages of a thousand keys, one after the other. The first page is asked for alone, and small buckets
need no more. What comes after it is cut in two, and in two again, at sub-prefixes, while listers are idle. The rule:
only that cutting rests on the order of the keys, so it is checked; a store that promises none is listed undivided.
A page is given once the one after it is there, so that an image knows the sidecars on either.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import pairwise

from connector.errors import SourceError
from connector.remote.s3 import Listed, Page, S3Store
from connector.remote.s3_bytes import DIRECTORY_BUCKET

DEEPEST_CUT = 4
"""How many sub-prefixes are followed down to find a place to cut."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The objects of a page, and those on the pages before and after it: what they share a folder with."""

    objects: Sequence[Listed]
    around: Sequence[Listed]


@dataclass(slots=True)
class _Held:
    """The last page of a range, which waits for the one after it, and the page before that."""

    before: Sequence[Listed] = ()
    objects: Sequence[Listed] = ()

    def next(self, page: Sequence[Listed]) -> Iterator[Stretch]:
        """What was held, now that the page after it is there."""
        if self.objects:
            yield Stretch(self.objects, around=(*self.before, *page))
        self.before, self.objects = self.objects, page


@dataclass(slots=True)
class _KeyRange:
    """The keys after ``after`` up to and including ``until``, None for no end.

    ``last`` is the last key seen, ``token`` goes on from there; ``marks`` are sorted places to cut.
    """

    after: str
    until: str | None = None
    last: str = ""
    token: str | None = None
    marks: list[str] = field(default_factory=list)
    cuttable: bool = True
    held: _Held = field(default_factory=_Held)

    def holds(self, key: str) -> bool:
        """Whether a key is in the range."""
        return self.after < key and (self.until is None or key <= self.until)

    def goes_on_after(self, page: Page) -> bool:
        """Whether more of the range can follow a page of it."""
        return page.token is not None and (not page.objects or self.until is None or page.objects[-1].key < self.until)

    def split(self) -> "_KeyRange | None":
        """The latter half of what is left, which the range then lacks; None where there is no place to cut."""
        marks = [mark for mark in self.marks if mark > self.last and self.holds(mark)]
        if not marks:
            self.marks = []
            return None
        middle = len(marks) // 2
        rest = _KeyRange(after=marks[middle], until=self.until, marks=marks[middle + 1 :])
        self.until, self.marks = marks[middle], marks[:middle]
        return rest


class S3Listing:
    """Lists one prefix with up to ``listers`` requests at once."""

    def __init__(self, store: S3Store, bucket: str, *, prefix: str, listers: int) -> None:
        self._store = store
        self._bucket = bucket
        self._prefix = prefix
        self._listers = listers

    def stretches(self) -> Iterator[Stretch]:
        """The pages as they come, every key once; at most three pages of each lister are held. Raises SourceError."""
        first = self._store.list_page(self._bucket, prefix=self._prefix)
        held = _Held(objects=first.objects)
        if first.token is None:
            yield from held.next(())
        elif self._listers == 1 or self._bucket.endswith(DIRECTORY_BUCKET) or not (first.objects and _in_order(first)):
            yield from self._undivided(first.token, held)
        else:
            last = first.objects[-1].key
            yield from self._divided(_KeyRange(after=last, last=last, token=first.token, held=held))

    def _undivided(self, token: str, held: _Held) -> Iterator[Stretch]:
        following: str | None = token
        while following is not None:
            page = self._store.list_page(self._bucket, prefix=self._prefix, token=following)
            if page.token == following:
                raise SourceError(
                    f"s3://{self._bucket}/{self._prefix} cannot be listed: the store gives the same page again and "
                    "again. Check s3.endpoint_url; its store has to know ListObjectsV2."
                )
            yield from held.next(page.objects)
            following = page.token
        yield from held.next(())

    def _divided(self, whole: _KeyRange) -> Iterator[Stretch]:
        running: dict[Future[Page], _KeyRange] = {}
        with ThreadPoolExecutor(self._listers, thread_name_prefix="list") as pool:

            def go_on(key_range: _KeyRange) -> None:
                running[pool.submit(self._page, key_range)] = key_range

            self._look_for_marks(whole)
            if (rest := whole.split()) is not None:
                go_on(rest)
            go_on(whole)
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    key_range = running.pop(future)
                    page = future.result()
                    self._check_order(page, key_range)
                    if page.objects:
                        key_range.last = page.objects[-1].key
                    key_range.token = page.token
                    goes_on = key_range.goes_on_after(page)
                    if goes_on:
                        if len(running) < self._listers - 1 and (rest := key_range.split()) is not None:
                            go_on(rest)
                        go_on(key_range)
                    yield from key_range.held.next([listed for listed in page.objects if key_range.holds(listed.key)])
                    if not goes_on:
                        yield from key_range.held.next(())

    def _page(self, key_range: _KeyRange) -> Page:
        """The next page of a range; where another will follow, places to cut it are looked for."""
        page = self._store.list_page(self._bucket, prefix=self._prefix, after=key_range.after, token=key_range.token)
        if key_range.goes_on_after(page) and not key_range.marks and key_range.cuttable:
            self._look_for_marks(key_range, after=page.objects[-1].key if page.objects else None)
        return page

    def _look_for_marks(self, key_range: _KeyRange, *, after: str | None = None) -> None:
        """Find sub-prefixes within what is left of a range: on the first level that has one."""
        after, top = after or key_range.last or key_range.after, self._prefix
        for _ in range(DEEPEST_CUT):
            found = self._store.list_page(self._bucket, prefix=top, after=after, delimiter="/").prefixes
            key_range.marks = sorted(mark for mark in found if mark > after and key_range.holds(mark))
            folder, slash, _ = after[len(top) :].partition("/")
            if key_range.marks or not slash:
                break
            top = f"{top}{folder}/"
        key_range.cuttable = bool(key_range.marks)

    def _check_order(self, page: Page, key_range: _KeyRange) -> None:
        if page.objects and (not _in_order(page) or page.objects[0].key <= key_range.last):
            raise SourceError(
                f"s3://{self._bucket}/{self._prefix} is listed out of order, near {page.objects[0].key!r}: listing "
                "it in several ranges at once would lose images. Set s3.listers to 1."
            )


def _in_order(page: Page) -> bool:
    return all(one.key < other.key for one, other in pairwise(page.objects))
