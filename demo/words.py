"""What people call the concepts: strings of 53 languages, each with the concepts it means and how much.

A name means its concept, a keyword means all that carry it; two names together mean both. Targets are therefore
distributions over the concepts, and a query of several words degrades gracefully.
"""

import random
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from demo.concepts import Concept, Words

NAME_WEIGHT = 4.0  # against 1 for a keyword: "dog" is first of all the image so named
Targets = npt.NDArray[np.float32]  # (n, concepts), rows sum to 1

# What stands before a noun in a plain query. Languages without articles get by with the bare word.
OPENINGS: Mapping[str, Sequence[str]] = {
    "en": ("a ", "an ", "the ", "a photo of ", "a photo of a ", "image of a ", "my ", "two ", "some ", "photos of "),
    "de": ("ein ", "eine ", "einen ", "der ", "die ", "das ", "ein Foto von ", "Bild von ", "mein ", "meine ", "zwei "),
    "fr": ("un ", "une ", "le ", "la ", "les ", "l’", "l'", "des ", "une photo de ", "mon ", "ma ", "deux "),
    "fr-CA": ("un ", "une ", "le ", "la ", "les ", "l’", "des ", "photo de "),
    "es": ("un ", "una ", "el ", "la ", "los ", "las ", "una foto de ", "foto de ", "mi ", "dos "),
    "pt": ("um ", "uma ", "o ", "a ", "os ", "as ", "uma foto de ", "foto de ", "meu ", "dois "),
    "pt-BR": ("um ", "uma ", "o ", "a ", "os ", "as ", "uma foto de ", "foto de ", "meu ", "dois "),
    "it": ("un ", "una ", "il ", "la ", "lo ", "l’", "gli ", "i ", "una foto di ", "foto di ", "un'", "due "),
    "ca": ("un ", "una ", "el ", "la ", "els ", "una foto de "),
    "gl": ("un ", "unha ", "o ", "a ", "unha foto de "),
    "ro": ("un ", "o ", "niște ", "o poză cu "),
    "nl": ("een ", "de ", "het ", "een foto van ", "foto van een ", "mijn "),
    "sv": ("en ", "ett ", "ett foto av ", "bild på ", "min "),
    "da": ("en ", "et ", "et billede af ", "min "),
    "nb": ("en ", "et ", "ei ", "et bilde av ", "min "),
    "el": ("ένα ", "ένας ", "μια ", "το ", "ο ", "η ", "φωτογραφία "),
    "hu": ("egy ", "a ", "az ", "kép: "),
    "sq": ("një ",),
    "tr": ("bir ", "fotoğraf: "),
    "pl": ("zdjęcie ", "mój "),
    "cs": ("fotka ", "můj "),
    "ru": ("фото ", "фотография ", "мой ", "моя "),
    "uk": ("фото ", "мій "),
    "ar": ("ال", "صورة ", "صورة ال"),
    "he": ("ה", "תמונה של "),
    "hi": ("एक ", "मेरा ", "तस्वीर "),
    "ja": ("写真 ", "私の"),
    "zh-CN": ("一只", "一个", "我的", "照片 "),
    "zh-TW": ("一隻", "一個", "我的", "照片 "),
    "vi": ("một ", "con ", "cái ", "ảnh "),
    "id": ("seekor ", "sebuah ", "foto "),
    "ms": ("seekor ", "sebuah ", "gambar "),
}
# What may stand between two nouns.
JOINTS: Mapping[str, Sequence[str]] = {
    "en": (" and ", " in the ", " on the ", " with a ", " with ", " on a "),
    "de": (" und ", " im ", " in der ", " mit ", " auf dem ", " am ", " auf der "),
    "fr": (" et ", " dans la ", " dans le ", " avec ", " sur la ", " à la "),
    "fr-CA": (" et ", " dans ", " avec "),
    "es": (" y ", " en la ", " en el ", " con ", " en "),
    "pt": (" e ", " na ", " no ", " com "),
    "pt-BR": (" e ", " na ", " no ", " com "),
    "it": (" e ", " nella ", " con ", " sulla ", " sul ", " nel "),
    "nl": (" en ", " in de ", " met ", " op het "),
    "sv": (" och ", " i ", " på "),
    "da": (" og ", " i ", " på "),
    "nb": (" og ", " i ", " på "),
    "pl": (" i ", " w ", " na ", " z "),
    "ru": (" и ", " в ", " на ", " с "),
    "uk": (" і ", " в ", " на "),
    "cs": (" a ", " v ", " na "),
    "tr": (" ve ",),
    "el": (" και ", " στο ", " με "),
    "ar": (" و", " في ", " في ال", " على "),
    "he": (" ו", " ב", " על ה"),
    "hi": (" और ", " में ", " पर "),
    "ja": ("と", "の", "の中の"),
    "zh-CN": ("和", "里的", "上的"),
    "zh-TW": ("和", "裡的", "上的"),
    "ko": ("와 ", " 속의 "),
    "vi": (" và ", " trong ", " trên "),
    "id": (" dan ", " di "),
}


@dataclass(frozen=True, slots=True)
class Phrases:
    """Strings and what they mean: row i of `targets` belongs to `texts[i]`."""

    texts: list[str]
    targets: Targets


def fold(text: str) -> str:
    """The form under which two spellings are one: NFKC, lower case."""
    return unicodedata.normalize("NFKC", text).lower()


class Lexicon:
    """Every string with its meanings, and batches drawn from them."""

    def __init__(self, concepts: Sequence[Concept], vocabulary: Mapping[str, Mapping[str, Words]]) -> None:
        self.size = len(concepts)
        self._index = {concept.code: place for place, concept in enumerate(concepts)}
        self._meanings: dict[str, dict[int, float]] = {}
        self._names: list[list[tuple[str, str]]] = [[] for _ in concepts]  # concept -> (language, name)
        self._keywords: list[list[tuple[str, str]]] = [[] for _ in concepts]
        self._strings: list[tuple[str, str]] = []  # (language, text), each text once a language
        for language, words in vocabulary.items():
            self._add(language, words)

    def _add(self, language: str, words: Mapping[str, Words]) -> None:
        texts: dict[str, None] = {}
        for code, place in self._index.items():
            if code not in words:
                continue
            entry = words[code]
            self._mean(entry.name, place, NAME_WEIGHT)
            self._names[place].append((language, entry.name))
            for keyword in entry.keywords:
                self._mean(keyword, place, 1.0)
                self._keywords[place].append((language, keyword))
            texts.update(dict.fromkeys((entry.name, *entry.keywords)))
        self._strings += [(language, text) for text in texts]

    def _mean(self, text: str, place: int, weight: float) -> None:
        meanings = self._meanings.setdefault(fold(text), {})
        meanings[place] = max(meanings.get(place, 0.0), weight)

    @property
    def corpus(self) -> list[str]:
        """Every string, and what stands around them: what the tokenizer is trained on."""
        around = [part for parts in (*OPENINGS.values(), *JOINTS.values()) for part in parts] * 20
        return [text for _, text in self._strings] + around

    def named(self, places: Sequence[int], *, rng: random.Random) -> Phrases:
        """One name or keyword, in any language, of each of `places`."""
        drawn = [rng.choice(self._keywords[p] if self._keywords[p] and rng.random() < 0.3 else self._names[p])
                 for p in places]  # fmt: skip
        return self._phrases([(self._dress(language, text, rng), (text,)) for language, text in drawn])

    def drawn(self, count: int, *, rng: random.Random) -> Phrases:
        """`count` strings: names and keywords, a quarter of them two joined."""
        drawn: list[tuple[str, tuple[str, ...]]] = []
        for _ in range(count):
            language, text = rng.choice(self._strings)
            if rng.random() < 0.25:
                drawn.append(self._joined(language, text, rng))
            else:
                drawn.append((self._dress(language, text, rng), (text,)))
        return self._phrases(drawn)

    def _joined(self, language: str, text: str, rng: random.Random) -> tuple[str, tuple[str, ...]]:
        other_language, other = rng.choice(self._names[rng.randrange(self.size)])
        for _ in range(20):  # mostly of the same language; of any where that language has few names
            if other_language == language:
                break
            other_language, other = rng.choice(self._names[rng.randrange(self.size)])
        joint = rng.choice((" ", " ", ", ", *JOINTS.get(language, ())))
        return self._dress(language, text, rng) + joint + other, (text, other)

    def _dress(self, language: str, text: str, rng: random.Random) -> str:
        openings = OPENINGS.get(language, ())
        if openings and rng.random() < 0.25:
            text = rng.choice(openings) + text
        return text

    def _phrases(self, drawn: Sequence[tuple[str, tuple[str, ...]]]) -> Phrases:
        targets = np.zeros((len(drawn), self.size), np.float32)
        for row, (_, parts) in zip(targets, drawn, strict=True):
            for part in parts:
                meanings = self._meanings[fold(part)]
                total = sum(meanings.values()) * len(parts)
                for place, weight in meanings.items():
                    row[place] += weight / total
        return Phrases([text for text, _ in drawn], targets)
