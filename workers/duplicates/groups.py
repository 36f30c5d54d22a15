"""Groups of duplicates: what is told of them, and which image of each is the best, with the reason.

The rule: a group's id is made of the ids of its points alone, so the same group has the same id tomorrow.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from connector.records import StoredPoint

if TYPE_CHECKING:
    from workers.duplicates.same import Verdict

DuplicateKind = Literal["identical", "same_image", "same_moment", "look_alikes"]
KINDS: tuple[DuplicateKind, ...] = get_args(DuplicateKind)

NEAR = 0.85
"""Cosine of two vectors from which a second look is taken, where nothing else is said."""

LOSSLESS = ("png", "tiff", "bmp")
"""Formats that keep every pixel as it was, as a rule."""
DESCRIBED = ("taken_at", "camera", "lens", "location", "title", "description", "creator", "rating", "tags", "exposure")
"""Fields that a copy loses first."""
MORE_PIXELS = 1.02
"""How many times as many pixels count as more."""
SHARPER = 1.15
"""How many times as sharp counts as sharper."""
LARGER = 1.1
"""How many times as large a file counts as larger: a faint watermark makes one a hundredth larger, and no better."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why an image stands in a group: what was found between it and ``of``, another one of the group.

    ``cosine`` is that of their vectors. ``pixels`` is what the second look at both images found, where it was taken:
    the first of them is this image, the second ``of``.
    ``seconds`` lie between the moments they were taken at, where both say it.
    """

    of: str
    cosine: float | None = None
    pixels: "Verdict | None" = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An image of a group; ``evidence`` is None for the one that the others were held against."""

    id: str
    uri: str
    width: int | None
    height: int | None
    bytes: int | None
    format: str | None
    evidence: Evidence | None


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Images of one kind of likeness, the best first.

    ``size`` counts them all; ``images`` are the first ``SHOWN`` of them. ``best`` is the id of the one that is proposed
    to be kept, and ``reason`` why.
    """

    id: str
    kind: DuplicateKind
    size: int
    best: str
    reason: str
    images: tuple[Duplicate, ...]


SHOWN = 1_000
"""Images of a group that are told one by one."""


def group_of(
    kind: DuplicateKind,
    points: Sequence[StoredPoint],
    *,
    ids: Sequence[str],
    evidence: Mapping[str, Evidence],
    sharpness: Mapping[str, float],
) -> DuplicateGroup:
    """A group of these points, which are those of ``ids`` or the first of them."""
    best, reason = best_of(points, sharpness=sharpness, overlaid=_overlaid(evidence))
    images = sorted(points, key=lambda point: (point.id != best, _by_name(point)))
    digest = hashlib.blake2b("\n".join(sorted(ids)).encode(), digest_size=8).hexdigest()
    return DuplicateGroup(
        id=f"{kind}-{digest}",
        kind=kind,
        size=len(ids),
        best=best,
        reason=reason,
        images=tuple(_told(point, evidence.get(point.id)) for point in images),
    )


def _overlaid(evidence: Mapping[str, Evidence]) -> set[str]:
    """The images that have a watermark."""
    found = ((each.pixels.overlay, point_id, each.of) for point_id, each in evidence.items() if each.pixels is not None)
    return {point_id if overlay == "first" else other for overlay, point_id, other in found if overlay is not None}


def best_of(
    points: Sequence[StoredPoint], *, sharpness: Mapping[str, float], overlaid: Collection[str] = ()
) -> tuple[str, str]:
    """The id of the image to keep, and what decided.

    No watermark, resolution, sharpness, metadata, format, size, in this order; then the shortest name, for the names of
    copies are those of their originals with something added ("IMG_1 (1).jpg").
    """
    left = sorted(points, key=_by_name)
    decided = "nothing else tells them apart: the shortest name"
    steps: tuple[tuple[str, Callable[[StoredPoint], float], float], ...] = (
        ("no watermark", lambda point: float(point.id not in overlaid), 1.0),
        ("the most pixels", _pixels, MORE_PIXELS),
        ("as large, and the sharpest", lambda point: sharpness.get(point.id, 0.0), SHARPER),
        ("no less sharp, and the most metadata", _described, 1.0),
        ("as well described, in a format without loss", _lossless, 1.0),
        ("alike but for the file, which is the largest", lambda point: _number(point, "bytes"), LARGER),
    )
    for reason, measure, factor in steps:
        most = max(map(measure, left))
        kept = [point for point in left if measure(point) * factor >= most]
        if len(kept) < len(left):
            left, decided = kept, reason
        if len(left) == 1:
            break
    return left[0].id, decided


def _told(point: StoredPoint, evidence: Evidence | None) -> Duplicate:
    payload = point.payload
    form = payload.get("format")
    width, height, size = (_whole(payload.get(name)) for name in ("width", "height", "bytes"))
    return Duplicate(point.id, point.uri, width, height, size, form if isinstance(form, str) else None, evidence)


def _by_name(point: StoredPoint) -> tuple[int, int, str, str]:
    """The shortest name of a file first, then the shortest address; never by chance."""
    uri = point.uri
    return len(uri.rpartition("/")[2]), len(uri), uri, point.id


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(point: StoredPoint, name: str) -> float:
    return float(_whole(point.payload.get(name)) or 0)


def _pixels(point: StoredPoint) -> float:
    return _number(point, "width") * _number(point, "height")


def _described(point: StoredPoint) -> float:
    return float(sum(bool(point.payload.get(name)) for name in DESCRIBED))


def _lossless(point: StoredPoint) -> float:
    return float(point.payload.get("format") in LOSSLESS)
