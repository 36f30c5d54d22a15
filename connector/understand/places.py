"""Places in a question: names with a sure sign that they say where. "Paris" alone may be anything.

The rule: a preposition stands before the name, or a word for photos beside it; the name has its capital, where its
script has them; and it stands alone: what follows is no noun that it belongs to, as in "panama hat".
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from connector.places.gazetteer import Place, find
from connector.understand.lexicon import known_words, place_signs
from connector.understand.tokens import Token, folded, key_of

LONGEST, LONGEST_UNSPACED = 4, 12
"""Tokens of a name; of one in a script without spaces, whose tokens are characters."""
_ARTICLES = frozenset(
    {
        "the",
        "der",
        "die",
        "den",
        "dem",
        "la",
        "le",
        "les",
        "l",
        "el",
        "los",
        "las",
        "il",
        "lo",
        "o",
        "os",
        "a",
        "as",
        "'",
    }
)


@dataclass(frozen=True, slots=True)
class FoundPlace:
    """A place in the text, between two places in it: how it is shown, and its condition."""

    start: int
    end: int
    shown: str
    where: str


def find_places(tokens: Sequence[Token], *, taken: Sequence[tuple[int, int]]) -> list[FoundPlace]:
    """Every place of a text; ``taken`` is where dates stand in it."""
    reader = _Reader(tokens, taken, place_signs())
    found: list[FoundPlace] = []
    at = 0
    while at < len(tokens):
        place = reader.place_at(at)
        if place is None:
            at += 1
            continue
        found.append(place)
        at = next((n for n, each in enumerate(tokens) if each.start >= place.end), len(tokens))
    return found


@dataclass(frozen=True, slots=True)
class _Reader:
    tokens: Sequence[Token]
    taken: Sequence[tuple[int, int]]
    signs: Mapping[str, frozenset[str]]

    def place_at(self, at: int) -> FoundPlace | None:
        """The place whose sign begins at a token, or whose name does where its sign follows it."""
        for length in (3, 2, 1):
            key = " ".join(each.key for each in self.tokens[at : at + length])
            is_of_photos = self._is_photo(at - 1)
            is_sign = key in self.signs["before"] or (is_of_photos and key in self.signs["of"])
            if at + length <= len(self.tokens) and is_sign:
                first = self._past_articles(at + length)
                is_strong = is_of_photos or key in self.signs["strong"]
                found = self._named(first, start=at, is_strong=is_strong)
                if found is not None:
                    return found
        return self._unspaced(at) if self.tokens[at].is_unspaced else self._suffixed(at)

    def _past_articles(self, at: int) -> int:
        while at < len(self.tokens) and self.tokens[at].key in _ARTICLES:
            at += 1
        return at

    def _is_photo(self, at: int) -> bool:
        """Whether a word for photos ends at a token."""
        if at < 0:
            return False
        some = [" ".join(each.key for each in self.tokens[max(0, at - n) : at + 1]) for n in range(3)]
        return any("photo" in known_words().get(each, {}) for each in some)

    def _named(self, first: int, *, start: int, is_strong: bool) -> FoundPlace | None:
        """The longest name that begins at a token, after its sign, with the name behind its comma."""
        for last in range(min(len(self.tokens), first + LONGEST), first, -1):
            some = self.tokens[first:last]
            if not some[-1].is_word or any(map(self._is_taken, range(first, last))):
                continue
            match = _match(some)
            if match is None or not match.fits(some[0], is_strong=is_strong):
                continue
            comma = last < len(self.tokens) and self.tokens[last].key == ","
            behind = self._named(last + 1, start=last + 1, is_strong=False) if comma else None
            if behind is not None:
                found = self._found(match, start, last, typed=some)
                both = f"{found.where} and {behind.where}"
                return replace(found, end=behind.end, shown=f"{found.shown}, {behind.shown}", where=both)
            if self._stands_alone(last, is_strong=is_strong):
                return self._found(match, start, last, typed=some)
        return None

    def _suffixed(self, at: int) -> FoundPlace | None:
        """A name whose ending says where: "Roma'dan", "Roomasta"; in Hebrew its beginning."""
        token = self.tokens[at]
        following = [each.key for each in self.tokens[at + 1 : at + 3]]
        if token.is_capital and len(following) == 2 and following[0] == "'" and following[1] in _TURKISH:
            match, last = _match([token]), at + 3
        elif token.is_capital and token.key.endswith(_ENDINGS_OF_PLACES):
            stems = (token.key[: -len(each)] for each in _ENDINGS_OF_PLACES if token.key.endswith(each))
            match, last = next((made for stem in stems if len(stem) > 3 and (made := _matched(stem))), None), at + 1
        elif token.key[0] in "במ" and self._is_photo(at - 1):
            match, last = _matched(token.key[1:]), at + 1
        else:
            return None
        return self._found(match, at, last, typed=[]) if match is not None and match.place.is_famous else None

    def _stands_alone(self, at: int, *, is_strong: bool) -> bool:
        """Whether what follows a name is no word that it belongs to: "from Paris Hilton", "in Chelsea boots"."""
        if at >= len(self.tokens) or self._is_taken(at) or not self.tokens[at].is_word:
            return True
        following = self.tokens[at]
        return following.key in self.signs["following"] or (is_strong and not following.is_capital)

    def _unspaced(self, at: int) -> FoundPlace | None:
        """A name in a script without spaces, whose sign follows it or stands before it."""
        before = next((n for n in (5, 4, 3, 2, 1) if self._key(at, at + n) in self.signs["unspaced_before"]), 0)
        for last in range(min(len(self.tokens), at + before + LONGEST_UNSPACED), at + before, -1):
            after = next((n for n in (4, 3, 2, 1) if self._key(last, last + n) in self.signs["unspaced_after"]), 0)
            photo = self._photo_after(last)
            if not (before or after or photo) or any(map(self._is_taken, range(at, last))):
                continue
            if not before and self._is_within_a_word(at):
                continue
            place = find(self._key(at + before, last)) if last - at - before >= 2 else None
            if place is not None and (before or photo or place.is_famous):
                return self._found(_Match(place, True, True), at, last + after, typed=self.tokens[at + before : last])
        return None

    def _is_within_a_word(self, at: int) -> bool:
        """Whether what stands before a token may belong to one word with it."""
        if not at or self._is_taken(at - 1) or self.tokens[at - 1].end < self.tokens[at].start:
            return False
        return self.tokens[at - 1].is_unspaced and self.tokens[at - 1].key not in ("の", "的", "で", "に", "、")

    def _photo_after(self, at: int) -> bool:
        return any("photo" in known_words().get(self._key(at, at + n), {}) for n in (4, 3, 2))

    def _key(self, first: int, last: int) -> str:
        return " ".join(each.key for each in self.tokens[first:last]) if last <= len(self.tokens) else "-"

    def _is_taken(self, at: int) -> bool:
        token = self.tokens[at]
        return any(token.start < end and start < token.end for start, end in self.taken)

    def _found(self, match: "_Match", first: int, last: int, *, typed: Sequence[Token]) -> FoundPlace:
        between = "" if typed and typed[0].is_unspaced else " "
        written = between.join(each.text for each in typed) if match.is_as_typed else ""
        names = [*dict.fromkeys(each for each in (*match.place.names, written) if each and each == each.strip())]
        if written and typed[0].text[0].islower():
            names.remove(written)
        listed = ", ".join(json.dumps(each, ensure_ascii=False) for each in names)
        where = f"place in ({listed})" if len(names) > 1 else f"place == {listed}"
        return FoundPlace(self.tokens[first].start, self.tokens[last - 1].end, " or ".join(match.place.names), where)


@dataclass(frozen=True, slots=True)
class _Match:
    """A name that was found: as it stands in the text or by its stem, and whether it is the place's own."""

    place: Place
    is_as_typed: bool
    is_own: bool

    def fits(self, first: Token, *, is_strong: bool) -> bool:
        """Whether the name can be meant: it has its capital, or is famous and surely a place."""
        has_capital = first.is_capital or not first.text[0].isalpha() or first.text[0].lower() == first.text[0].upper()
        if not has_capital:
            return is_strong and self.place.is_famous
        return is_strong or self.is_own or self.place.is_famous


def _match(some: Sequence[Token]) -> _Match | None:
    """The place that tokens name: as they are, without accents, or without the ending of a case."""
    key = " ".join(each.key for each in some)
    for form in (key, folded(key)):
        if found := _matched(form):
            return found
    for ending, others in _ENDINGS:
        if key.endswith(ending) and len(key) - len(ending) >= 3:
            stem = key[: -len(ending)]
            if found := next((made for each in others if (made := _matched(stem + each))), None):
                return replace(found, is_as_typed=False, is_own=False)
    return None


def _matched(key: str) -> _Match | None:
    place = None if key in _MATERIALS else find(key)
    return None if place is None else _Match(place, True, any(key == folded(key_of(each)) for each in place.names))


_MATERIALS = frozenset({"gold", "stein", "eisen", "silber"})
"""Names of places that German asks for with the same preposition: "aus Gold"."""
_TURKISH = frozenset({"da", "de", "ta", "te", "dan", "den", "tan", "ten"})
_ENDINGS_OF_PLACES = ("ssa", "ssä", "sta", "stä", "lta", "ltä", "ban", "ben", "ból", "ből")
"""Endings of Finnish and Hungarian that say in and from."""
_CASES = (
    "ssa: ssä: sta: stä: lta: ltä: lla: ban: ben: ból: ből: ában:a ából:a ében:e éből:e da: de: dan: den: ие:ия "
    "ии:ия ой:а е:|а|я|ь а: ы:а и:ь|я|а я:ь|й у:|а ом: і:|а|ь ії:ія ю:я|ь ii:ia ie:|ia|a u:|o y:a i:a| ě:a| e:a| "
    "a: ą:a em: "
)
_ENDINGS = tuple((ending, stems.split("|")) for ending, _, stems in (each.partition(":") for each in _CASES.split()))
"""Endings of cases that a preposition asks for, and what stands in their place in a list of names."""
