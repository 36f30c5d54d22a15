"""Places of the world, offline: what lies at a pair of coordinates, and which place a name means, in many languages.

The rule: no place is invented. A town is named only where one is near, the country by the time zone that the
coordinates lie in, and the open sea has no name. The data are GeoNames', made small by ``demo.gazetteer``.
"""

import mmap
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import cos, radians, sin
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEAR_KM = 15.0
"""A town may be this far away to name a place."""
REGION_KM = 60.0
"""A town may be this far away to say which region of its country a place lies in."""
LARGE, RADIUS_KM = 100_000, 0.007
"""Inhabitants of a city that has districts, and its radius for the root of each of them: 7 km of a million."""
EARTH_KM = 6371.0
WORLD_FAMOUS = 6
"""Digits of the inhabitants from which on a name without a capital means the place."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place that a name means: the ``names`` that payloads may have for it, the likeliest first."""

    names: tuple[str, ...]
    is_famous: bool


def names_at(lat: float, lon: float) -> list[str]:
    """Town, larger city around it, region and country at coordinates in degrees, in English; those that are known."""
    country = _country_at(lat, lon)
    if country is None:
        return []
    towns = _towns()
    names: list[str] = []
    code = towns.codes.index(country) if country in towns.codes else -1
    first, last = np.searchsorted(towns.country, [code, code + 1])
    if last > first:
        chords = np.linalg.norm(towns.units[first:last] - _unit(lat, lon), axis=1)
        kilometres = EARTH_KM * 2 * np.arcsin(np.clip(chords / 2, 0, 1))
        nearest = int(np.argmin(kilometres))
        middle = nearest
        if kilometres[nearest] <= NEAR_KM:
            names.append(towns.names[first + nearest])
        people = towns.population[first:last]
        around = np.flatnonzero((people >= LARGE) & (kilometres <= RADIUS_KM * np.sqrt(people)))
        if len(around):
            middle = int(around[np.argmax(people[around])])
            names.append(towns.names[first + middle])
        if kilometres[nearest] <= REGION_KM:
            names.append(towns.regions[towns.region[first + middle]])
    return [*dict.fromkeys(each for each in (*names, towns.countries[code] if code >= 0 else "") if each)]


def find(key: str) -> Place | None:
    """The place that a name means, in any language; ``key`` is the name as ``understand.tokens.key_of`` has it."""
    lines, wanted = _names(), key.encode() + b"\t"
    low, high = 0, len(lines)
    while low < high:
        middle = lines.rfind(b"\n", 0, (low + high) // 2) + 1
        end = lines.find(b"\n", middle)
        line = lines[middle:end]
        if line.startswith(wanted):
            _, names, digits = line.decode().split("\t")
            return Place(tuple(names.split("|")), int(digits) >= WORLD_FAMOUS)
        if line.split(b"\t", 1)[0] + b"\t" < wanted:
            low = end + 1
        elif middle == low and high <= end + 1:
            return None
        else:
            high = middle
    return None


@dataclass(frozen=True, slots=True)
class _Towns:
    """The towns in the order of their countries: ``units`` (n, 3) float32 on the unit sphere."""

    units: NDArray[np.float32]
    population: NDArray[np.int32]
    region: NDArray[np.uint16]
    country: NDArray[np.uint16]
    names: list[str]
    regions: list[str]
    codes: list[str]
    countries: list[str]


@cache
def _towns() -> _Towns:
    data = dict(np.load(Path(__file__).with_name("towns.npz")).items())
    lat, lon = (np.radians(data[name] / 1e4) for name in ("lat", "lon"))
    units = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1).astype(np.float32)
    texts = {name: data[name].tobytes().decode().split("\n") for name in ("names", "regions", "codes", "countries")}
    return _Towns(units, data["population"], data["region"], data["country"], **texts)


@cache
def _names() -> mmap.mmap:
    """The table of names, in the order of its bytes; of 8 MB only what is looked at is read."""
    with Path(__file__).with_name("names.tsv").open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _unit(lat: float, lon: float) -> NDArray[np.float32]:
    up, along = radians(lat), radians(lon)
    return np.array([cos(up) * cos(along), cos(up) * sin(along), sin(up)], dtype=np.float32)


def _country_at(lat: float, lon: float) -> str | None:
    """The code of the country whose time zone holds at a place; None at sea."""
    from tzfpy import get_tz  # 35 MB, and only for images that have a place

    return _zones().get(get_tz(lon, lat))


@cache
def _zones() -> dict[str, str]:
    """The country of each time zone, by the table of the time zone database."""
    text = files("tzdata").joinpath("zoneinfo", "zone.tab").read_text(encoding="utf-8")
    rows: list[Any] = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return {zone.strip(): code for code, _, zone, *_ in rows}
