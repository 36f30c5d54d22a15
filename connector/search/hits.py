"""Hits and HitGroups: lists of answers that a notebook shows as thumbnails.

The rule: showing fetches nothing. Only images in local files are read, by the one decoder and within its limits; the
others show their names.
"""

import base64
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import islice
from typing import Any, SupportsIndex, TypeAlias, overload
from urllib.parse import unquote

from connector.errors import InvalidQuery
from connector.printable import printable
from connector.records import FacetCount, Hit, HitGroup, Payload, local_path, masked_uri
from connector.store.schema import names_of
from connector.understand.question import Chip

THUMBNAIL_PX = 160
"""The longer side of a thumbnail."""
MAX_THUMBNAILS = 60
"""Images that one page shows; more would make a notebook heavy."""


class Hits(list[Hit]):
    """The hits of one question, best first; ``understood`` is what of its text became a filter.

    ``space`` is the one that compared them, None where that was not said.
    """

    understood: tuple[Chip, ...] = ()
    space: str | None = None

    @overload
    def __getitem__(self, at: SupportsIndex, /) -> Hit: ...
    @overload
    def __getitem__(self, at: slice, /) -> "Hits": ...
    def __getitem__(self, at: "SupportsIndex | slice", /) -> "Hit | Hits":
        if not isinstance(at, slice):
            return super().__getitem__(at)
        part = Hits(super().__getitem__(at))
        part.understood, part.space = self.understood, self.space
        return part

    def _repr_html_(self) -> str:
        return _page([("", self)])


class HitGroups(list[HitGroup]):
    """The groups of one question's hits, the group with the best hit first; ``understood`` as in ``Hits``."""

    understood: tuple[Chip, ...] = ()

    @overload
    def __getitem__(self, at: SupportsIndex, /) -> HitGroup: ...
    @overload
    def __getitem__(self, at: slice, /) -> "HitGroups": ...
    def __getitem__(self, at: "SupportsIndex | slice", /) -> "HitGroup | HitGroups":
        return HitGroups(super().__getitem__(at)) if isinstance(at, slice) else super().__getitem__(at)

    def _repr_html_(self) -> str:
        return _page([(str(each.value), each.hits) for each in self])


def _page(sections: Iterable[tuple[str, Sequence[Hit]]]) -> str:
    """Sections under their headings, ``MAX_THUMBNAILS`` images of them at most."""
    made, left, hidden = [], MAX_THUMBNAILS, 0
    for heading, hits in sections:
        shown = [*islice(hits, left)]
        left, hidden = left - len(shown), hidden + len(hits) - len(shown)
        if shown or not hits:
            made.append(_section(heading, shown))
    more = f"<p>{hidden:,} more hits.</p>" if hidden else ""
    return "".join(made) + more or "<p>No hits.</p>"


def _section(heading: str, hits: Sequence[Hit]) -> str:
    title = f"<h4>{_text(masked_uri(heading))}</h4>" if heading else ""
    figures = "".join(map(_figure, hits)) or "<p>No hits.</p>"
    return f'{title}<div style="display:flex;flex-wrap:wrap;gap:12px">{figures}</div>'


def _figure(hit: Hit) -> str:
    uri = hit.uri
    address = masked_uri(uri)
    name = _text(unquote(address.rsplit("/", 1)[-1]) or hit.id)
    thumbnail = _thumbnail(uri)
    image = (
        f'<img src="{thumbnail}" alt="{name}" style="max-width:100%">' if thumbnail else "<div>(no local file)</div>"
    )
    relevance = "" if hit.relevance is None else f", fits {hit.relevance:.0%}"
    fault = "" if hit.fault is None else f"<br>{_text(hit.fault)}"
    caption = f"{name}<br>{hit.score:.3f}{relevance}{fault}"
    return (
        f'<figure title="{_text(address)}" style="margin:0;width:{THUMBNAIL_PX}px;overflow-wrap:anywhere">'
        f"{image}<figcaption>{caption}</figcaption></figure>"
    )


def _thumbnail(uri: str) -> str | None:
    """A ``data:`` URI of a small WebP, None for what is no image in a local file."""
    path = local_path(uri)
    if path is None:
        return None
    from PIL.Image import Resampling

    from connector.images.decode import upright
    from connector.images.load import read_file
    from connector.settings import LimitsSettings

    limits = LimitsSettings()
    try:
        data = read_file(path, limits=limits)
        small = upright(data, size=THUMBNAIL_PX, max_pixels=limits.max_pixels)
    except InvalidQuery:  # gone, changed, a member of a tar: the name is shown alone
        return None
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode('ascii')}"


def _text(text: str) -> str:
    """Text for a page: escaped, and with a mark in place of what is not printable."""
    return escape(printable(text), quote=True)


Value: TypeAlias = str | int | bool


def grouped(hits: Sequence[Hit], *, by: str, size: int) -> HitGroups:
    """The hits by the values of a field, at most ``size`` in a group: the group with the best hit first."""
    groups: dict[Value, list[Hit]] = {}
    for hit in hits:
        for value in values_of(hit.payload, by):
            groups.setdefault(value, []).append(hit)
    return HitGroups(HitGroup(value, tuple(members[:size])) for value, members in groups.items())


def counted(hits: Sequence[Hit], *, field: str) -> list[FacetCount]:
    """The values among the hits, the most frequent first; equal counts in order of the value."""
    counts = Counter(value for hit in hits for value in values_of(hit.payload, field))
    ranked = sorted(counts.items(), key=lambda each: (-each[1], str(each[0])))
    return [FacetCount(value, count) for value, count in ranked]


def values_of(payload: Payload, field: str) -> list[Value]:
    """What a payload holds under a field's name, ``meta.price`` too; of a list every value once."""
    found = field_of(payload, field)
    several = found if isinstance(found, list) else [found]
    return [*dict.fromkeys(each for each in several if isinstance(each, str | int | bool))]


def field_of(payload: Payload, field: str) -> Any:
    """What a payload holds under a field's name, None where it has none."""
    found: Any = payload
    for name in names_of(field):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
