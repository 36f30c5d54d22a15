"""The concepts an image can show, their names and keywords in every language, and the icon that shows each.

A concept is one emoji; people in variants, clock faces, symbols and keycaps are left out, and so is a concept whose
image no eye can tell from an earlier one (`demo.images.distinct`).
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.sources import LANGUAGES, Layout, Source

CATEGORIES = {
    "smileys-emotion": "Smileys & Emotion",
    "people-body": "People & Body",
    "animals-nature": "Animals & Nature",
    "food-drink": "Food & Drink",
    "travel-places": "Travel & Places",
    "activities": "Activities",
    "objects": "Objects",
    "flags": "Flags",
}
PEOPLE = ("hand-fingers-closed", "hands", "hand-prop", "body-parts", "person", "person-role", "person-fantasy",
          "person-activity", "person-sport")  # fmt: skip
# The year in which each version of Unicode Emoji came out (0.6 and 0.7: the characters' own Unicode 6 and 7).
YEARS = {
    0.6: 2010, 0.7: 2014, 1.0: 2015, 2.0: 2015, 3.0: 2016, 4.0: 2016, 5.0: 2017, 11.0: 2018, 12.0: 2019, 12.1: 2019,
    13.0: 2020, 13.1: 2020, 14.0: 2021, 15.0: 2022, 15.1: 2023, 16.0: 2024, 17.0: 2025,
}  # fmt: skip
# CLDR keeps these under other codes, or as what differs from a parent (later ones win).
CLDR_LOCALES = {"nb": ("no",), "pt": ("pt", "pt-PT"), "pt-BR": ("pt",), "zh-CN": ("zh",), "zh-TW": ("zh-Hant",),
                "fr-CA": ("fr", "fr-CA")}  # fmt: skip
VARIATION = "\ufe0f"
LAST_VERSION = 16.0  # newer ones are drawn by hardly any set


@dataclass(frozen=True, slots=True)
class Concept:
    """One emoji: the unit that images show and names name."""

    emoji: str
    name: str
    slug: str
    category: str
    subcategory: str
    version: float

    @property
    def year(self) -> int:
        """The year in which this version of Unicode Emoji came out."""
        return YEARS[self.version]

    @property
    def code(self) -> str:
        """Code points in lower-case hex, joined by dashes, variation selectors left out: `1f415-200d-1f9ba`."""
        return code_of(self.emoji)


@dataclass(frozen=True, slots=True)
class Words:
    """What one language calls one concept."""

    name: str
    keywords: tuple[str, ...]


def code_of(emoji: str) -> str:
    """Code points in lower-case hex, joined by dashes, without variation selectors."""
    return "-".join(f"{ord(char):x}" for char in emoji.replace(VARIATION, ""))


def slugify(name: str) -> str:
    """ASCII lower-case words joined by dashes."""
    plain = unicodedata.normalize("NFKD", name.replace("’", "").replace("ı", "i"))
    return re.sub(r"[^a-z0-9]+", "-", plain.encode("ascii", "ignore").decode().lower()).strip("-")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _wanted(group: str, subgroup: str, entry: Mapping[str, Any]) -> bool:
    if group not in CATEGORIES or not 0 < entry["version"] <= LAST_VERSION:
        return False
    label = entry["label"]
    if group == "people-body":  # the plain person of each kind, not the man and the woman of it
        plain = "\u200d" not in entry["emoji"] and not re.match(r"(man|woman|men|women) \w", label)
        return plain and subgroup in PEOPLE
    return not (subgroup == "time" and re.search(r"o.clock|thirty", label))


def read_concepts(sources: Path) -> tuple[Concept, ...]:
    """Every concept in scope, in Unicode's order; `sources` is the folder of unpacked packages."""
    data = sources / "emojibase-data"
    meta = _read(data / "meta" / "groups.json")
    names = read_words(sources, "en")
    found: list[Concept] = []
    for entry in sorted(_read(data / "en" / "data.json"), key=lambda one: one.get("order", 0)):
        if "group" not in entry:
            continue
        group, subgroup = meta["groups"][str(entry["group"])], meta["subgroups"][str(entry["subgroup"])]
        words = names.get(code_of(entry["emoji"]))
        if words is None or not _wanted(group, subgroup, entry):
            continue
        found.append(
            Concept(
                emoji=entry["emoji"],
                name=words.name,
                slug=slugify(words.name),
                category=CATEGORIES[group],
                subcategory=subgroup,
                version=float(entry["version"]),
            )
        )
    return tuple(found)


def read_words(sources: Path, language: str) -> dict[str, Words]:
    """Code -> name and keywords in `language`; a concept without a name there is absent."""
    merged: dict[str, dict[str, list[str]]] = {}
    for locale in CLDR_LOCALES.get(language, (language,)):
        path = sources / "cldr-annotations-full" / "annotations" / locale / "annotations.json"
        for emoji, fields in _read(path)["annotations"]["annotations"].items():
            merged.setdefault(code_of(emoji), {}).update(fields)
    return {code: _words(fields) for code, fields in merged.items() if fields.get("tts")}


def _words(fields: Mapping[str, list[str]]) -> Words:
    name = " ".join(fields["tts"][0].split())
    keywords = [" ".join(word.split()) for word in fields.get("default", ())]
    return Words(name, tuple(dict.fromkeys(word for word in keywords if word and word != name)))


def read_vocabulary(sources: Path) -> dict[str, dict[str, Words]]:
    """Language -> code -> words, for all languages."""
    return {language: read_words(sources, language) for language in LANGUAGES}


class Names:
    """Finds the icon of a concept in a set that only has slugs."""

    def __init__(self, sources: Path, tables: Iterable[Source]) -> None:
        self._slugs: dict[str, set[str]] = {}
        for table in tables:
            path = sources / table.name / "chars.json"
            for char, slug in (_read(path) if path.exists() else {}).items():
                self._slugs.setdefault(code_of(_unhex(char)), set()).add(slug)

    def of(self, concept: Concept) -> tuple[str, ...]:
        """Slugs under which a set may keep the concept, the likeliest first."""
        formal = unicodedata.name(concept.emoji.replace(VARIATION, ""), "") if len(concept.code) <= 5 else ""
        slugs = [concept.slug, *sorted(self._slugs.get(concept.code, ())), slugify(formal)]
        return tuple(dict.fromkeys(slug for slug in slugs if slug))


def _unhex(code: str) -> str:
    return "".join(chr(int(part, 16)) for part in code.split("-"))


def read_icons(sources: Path, style: Source, concepts: Iterable[Concept], names: Names) -> dict[str, str]:
    """Concept code -> key of its icon in `style` (an icon's slug or a file's stem)."""
    if style.layout is Layout.WEBP:
        files = (sources / style.name / "assets").glob("*.webp")
        stems = {code_of(_unhex(path.stem)): path.stem for path in files if "_" not in path.stem}
        return {one.code: stems[one.code] for one in concepts if one.code in stems}
    icons = _read(sources / style.name / "icons.json")
    known = {**{key: key for key in icons["icons"]}, **{key: key for key in icons.get("aliases", {})}}
    bare = {re.sub("[^a-z0-9]", "", key): key for key in known}
    path = sources / style.name / "chars.json"
    chars = {code_of(_unhex(char)): slug for char, slug in (_read(path) if path.exists() else {}).items()}
    found: dict[str, str] = {}
    for one in concepts:
        options = [chars.get(one.code), *(bare.get(slug.replace("-", "")) for slug in names.of(one))]
        key = next((option for option in options if option in known), None)
        if key is not None:
            found[one.code] = key
    return found
