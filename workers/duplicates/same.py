"""Whether two looks are of the same image: recompressed, resized, cropped a little, turned by a quarter, watermarked.

The rule: the whole of the smaller field of view has to agree, but for a thin overlay of one colour. Another exposure
of a scene (parallax, somebody who moved, other clouds) disagrees somewhere, however near the vectors are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from workers.duplicates.look import COARSE, LOOK, Grey, Look, scaled, turned

HASH_NEAR = 10
"""Bits of 64 by which the hashes of one image in two forms differ at most, as a rule: then no crop is searched for."""
CROPS = (1.0, 0.95, 0.9, 0.85, 0.8)
"""Shares of an edge that a crop leaves, as far as they are searched for."""
COARSE_LEAST = 0.75
"""Correlation in the coarse search below which nothing finer is looked at."""
TILES = 8
"""Tiles along each edge, of which each is correlated on its own."""
TILE_LEAST = 0.85
"""Correlation of a tile that agrees."""
TILES_LEAST = 0.85
"""Share of the tiles that have something to correlate and agree."""
CHANGED_LEVELS = 20.0
"""Grey levels of a change, beside what half a pixel of misplacement makes."""
CHANGED_MOST = 0.002
"""Share of changed pixels that compression leaves."""
OVERLAY_MOST = 0.15
"""Share of changed pixels that a watermark has at most."""
OVERLAY_WIDTH = 9
"""Pixels across the strokes of a watermark, at most: a blob is something that moved."""
COLOUR_LEVELS = 20.0
"""Levels by which the colours of a region differ in two images that are not the same."""


Overlay = Literal["first", "second"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why two images are the same, or not.

    ``turns`` are quarter turns counter-clockwise of the second one; ``overlap`` is the share of the larger field of
    view that both show; ``agreement`` the share of tiles that agree; ``changed`` the share of pixels that differ;
    ``overlay`` which of the two has a watermark, where that is what differs; ``hash_distance`` bits of 64 by which the
    perceptual hashes differ.
    """

    same: bool
    turns: int
    overlap: float
    agreement: float
    changed: float
    overlay: Overlay | None
    hash_distance: int

    def turned_round(self) -> "Verdict":
        """The same, with the second image told first; turns stay those of what is second here."""
        return replace(self, overlay=_OTHER[self.overlay])


_OTHER: dict[Overlay | None, Overlay | None] = {"first": "second", "second": "first", None: None}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the whole image the other lies: left, top, width and height as shares of it."""

    left: float
    top: float
    width: float
    height: float

    def box(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """The place in pixels of an image of this size."""
        right, bottom = min(1.0, self.left + self.width), min(1.0, self.top + self.height)
        return (max(0.0, self.left) * size[0], max(0.0, self.top) * size[1], right * size[0], bottom * size[1])


_WHOLE = _Place(0.0, 0.0, 1.0, 1.0)


def compare(first: Look, second: Look) -> Verdict:
    """Hold two looks against each other."""
    distances = [int(np.count_nonzero(first.hashes[0] != each)) for each in second.hashes]
    nothing = Verdict(False, 0, 0.0, 0.0, 1.0, overlay=None, hash_distance=min(distances))
    if first.flat or second.flat:
        return nothing
    best = nothing
    for turns in sorted(range(4), key=distances.__getitem__):
        other = turned(second.pixels, turns)
        if distances[turns] <= HASH_NEAR and _shapes_fit(first.pixels, other, least=0.97):
            found = _judged(first.pixels, other, _WHOLE)
            best = max(best, replace(found, turns=turns, hash_distance=distances[turns]), key=_rank)
            if best.same:
                return best
    for turns in sorted(range(4), key=distances.__getitem__):
        other = turned(second.pixels, turns)
        for whole, part in ((first.pixels, other), (other, first.pixels)):
            place, score = _coarse(whole, part)
            if place is None or score < COARSE_LEAST:
                continue
            found = _judged(whole, part, place)
            if whole is other:
                found = found.turned_round()
            best = max(best, replace(found, turns=turns, hash_distance=distances[turns]), key=_rank)
            if best.same:
                return best
    return best


def _rank(verdict: Verdict) -> tuple[bool, float, float]:
    return verdict.same, verdict.agreement, -verdict.changed


def _shapes_fit(one: Image.Image, other: Image.Image, *, least: float) -> bool:
    ratio = (one.width * other.height) / (one.height * other.width)
    return least <= ratio <= 1 / least


# ------------------------------------------------------------------------------------------------------ where it lies


def _coarse(whole: Image.Image, part: Image.Image) -> tuple[_Place | None, float]:
    """Where the part correlates best with the whole, searched for at ``COARSE`` pixels."""
    small = _grey(scaled(whole, longer=COARSE))
    height, width = small.shape
    best: _Place | None = None
    best_score = -1.0
    for across, down in _sizes(whole, part, width=width, height=height):
        template = _grey(part.resize((across, down), Image.Resampling.BOX))
        windows = sliding_window_view(small, template.shape)
        scores = _correlations(windows, template)
        at = int(np.argmax(scores))
        top, left = divmod(at, scores.shape[1])
        if scores[top, left] > best_score:
            best_score = float(scores[top, left])
            best = _Place(left / width, top / height, across / width, down / height)
    return best, best_score


def _sizes(whole: Image.Image, part: Image.Image, *, width: int, height: int) -> Iterator[tuple[int, int]]:
    """Sizes in coarse pixels that the part may have in the whole: its own shape, cropped along either edge."""
    shape = (part.width * whole.height) / (part.height * whole.width)
    seen = set()
    for share in CROPS:
        across, down = share * min(1.0, shape), share * min(1.0, 1 / shape)
        size = (round(across * width), round(down * height))
        if min(across, down) >= CROPS[-1] - 0.03 and min(size) > 4 and size not in seen:
            seen.add(size)
            yield size


def _correlations(windows: NDArray[np.float32], template: Grey) -> NDArray[np.float32]:
    """Normalised cross-correlation of a template with every window: (rows, columns) float32, -1 to 1."""
    centred = template - template.mean()
    norm = float(np.sqrt((centred**2).sum()))
    means = windows.mean(axis=(2, 3))
    products = np.einsum("abij,ij->ab", windows, centred)
    squares = np.einsum("abij,abij->ab", windows, windows) - means**2 * template.size
    result: NDArray[np.float32] = products / np.maximum(norm * np.sqrt(np.maximum(squares, 0.0)), 1e-6)
    return result


def _refined(whole: Image.Image, part: Image.Image, place: _Place) -> tuple[_Place, float]:
    """The place moved and scaled in ever smaller steps for as long as the correlation rises (hill climbing)."""
    longer = max(48, min(128, *map(max, (whole.size, part.size))))
    other = _grey(scaled(part, longer=longer))
    frame = scaled(whole, longer=longer)

    def score(at: _Place) -> float:
        seen = _grey(frame.resize(other.shape[::-1], Image.Resampling.BICUBIC, box=at.box(frame.size)))
        return _correlation(seen, other)

    best = score(place)
    step = 1.0 / COARSE
    while step > 0.0008:
        moves = [
            replace(place, left=place.left + dx, top=place.top + dy, width=place.width + dw, height=place.height + dh)
            for dx, dy, dw, dh in (
                (step, 0, 0, 0),
                (-step, 0, 0, 0),
                (0, step, 0, 0),
                (0, -step, 0, 0),
                (0, 0, step, step * place.height / place.width),
                (0, 0, -step, -step * place.height / place.width),
                (-step / 2, 0, step, 0),
                (step / 2, 0, -step, 0),
                (0, -step / 2, 0, step),
                (0, step / 2, 0, -step),
            )
        ]
        inside = [each for each in moves if _is_inside(each)]
        scores = [score(each) for each in inside]
        if scores and max(scores) > best + 1e-5:
            best = max(scores)
            place = inside[int(np.argmax(scores))]
        else:
            step /= 2
    return place, best


def _is_inside(place: _Place) -> bool:
    fits = place.left >= 0 and place.top >= 0 and place.left + place.width <= 1 and place.top + place.height <= 1
    return fits and min(place.width, place.height) >= CROPS[-1] - 0.05


# -------------------------------------------------------------------------------------------------------- the verdict


def _judged(whole: Image.Image, part: Image.Image, place: _Place) -> Verdict:
    """The verdict on a part that is believed to lie at this place of the whole."""
    if place != _WHOLE:
        place, score = _refined(whole, part, place)
        if score < COARSE_LEAST:
            return Verdict(False, 0, 0.0, 0.0, 1.0, overlay=None, hash_distance=64)
    longer = min(LOOK, round(max(whole.size) * max(place.width, place.height)), max(part.size))
    other = scaled(part, longer=longer)
    box = place.box(whole.size)
    seen = whole.resize(other.size, Image.Resampling.LANCZOS, box=box)
    blur = ImageFilter.GaussianBlur(1.0)
    one, two = _grey(seen.filter(blur)), _grey(other.filter(blur))
    two = _toned(two, like=one)
    agreement = _agreement(one, two)
    mask = _changed(one, two)
    changed = float(mask.mean())
    overlay = _overlaid(one, two, mask) if changed > CHANGED_MOST and _is_overlay(one, two, mask) else None
    same = (
        (changed <= CHANGED_MOST or overlay is not None)
        and agreement >= TILES_LEAST
        and _colours_agree(seen, other, apart_from=mask)
    )
    overlap = place.width * place.height
    return Verdict(same, 0, overlap, agreement, changed, overlay=overlay, hash_distance=64)


def _toned(grey: Grey, *, like: Grey) -> Grey:
    """The image with the brightness and contrast of another, as far as an export changes them."""
    gain = min(1.15, max(0.87, float(like.std()) / max(float(grey.std()), 1e-6)))
    shift = min(12.0, max(-12.0, float(np.median(like) - np.median(grey) * gain)))
    return grey * np.float32(gain) + np.float32(shift)


def _agreement(one: Grey, two: Grey) -> float:
    """The share of tiles with a structure that correlate; 0 where no tile has one."""
    agreeing = looked_at = 0
    rows = np.array_split(np.arange(one.shape[0]), TILES)
    columns = np.array_split(np.arange(one.shape[1]), TILES)
    for row in rows:
        for column in columns:
            a = one[row[0] : row[-1] + 1, column[0] : column[-1] + 1]
            b = two[row[0] : row[-1] + 1, column[0] : column[-1] + 1]
            if max(a.std(), b.std()) < 4.0:
                continue
            looked_at += 1
            agreeing += _correlation(a, b) >= TILE_LEAST
    return agreeing / looked_at if looked_at else 0.0


def _correlation(one: Grey, two: Grey) -> float:
    a, b = one - one.mean(), two - two.mean()
    return float((a * b).sum() / max(float(np.sqrt((a**2).sum() * (b**2).sum())), 1e-6))


def _changed(one: Grey, two: Grey) -> NDArray[np.bool_]:
    """(height, width): where two images differ by more than half a pixel of misplacement explains."""
    down, across = np.gradient(one)
    steep = np.hypot(down, across)
    mask: NDArray[np.bool_] = np.abs(one - two) > CHANGED_LEVELS + 0.5 * steep
    return mask


def _is_overlay(one: Grey, two: Grey, mask: NDArray[np.bool_]) -> bool:
    """Whether what changed is a thin overlay of one colour in either image: out = (1 - alpha) * image + alpha * colour.

    Something that moved leaves a blob, and uncovers at one place what it covers at another, so that no such line
    fits: its slope is negative, or the rest is large.
    """
    if float(mask.mean()) > OVERLAY_MOST:
        return False
    eroded = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.MinFilter(OVERLAY_WIDTH))
    if np.asarray(eroded).any():
        return False
    a, b = one[mask], two[mask]
    signs = np.sign(b - a)
    return abs(float(signs.mean())) > 0.9


def _overlaid(one: Grey, two: Grey, mask: NDArray[np.bool_]) -> Overlay:
    """Which of both has the overlay: an overlay adds edges."""
    around = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(5))) > 0
    first, second = (float(np.hypot(*np.gradient(each))[around].mean()) for each in (one, two))
    return "first" if first > second else "second"


def _colours_agree(one: Image.Image, two: Image.Image, *, apart_from: NDArray[np.bool_]) -> bool:
    """Whether regions of both have the same hue, whatever their brightness (Cb and Cr of ITU-R BT.601)."""
    size = (max(1, one.width // 12), max(1, one.height // 12))
    a, b = (
        np.asarray(each.convert("YCbCr").resize(size, Image.Resampling.BOX), dtype=np.float32)[..., 1:]
        for each in (one, two)
    )
    covered = np.asarray(
        Image.fromarray(apart_from.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX), dtype=np.float32
    )
    differing = (np.abs(a - b).max(axis=2) > COLOUR_LEVELS) & (covered < 8)
    return float(differing.mean()) < 0.01


def _grey(image: Image.Image) -> Grey:
    return np.asarray(image.convert("L"), dtype=np.float32)
