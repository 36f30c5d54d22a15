"""What was written down beside an image: a JSON object, a caption or XMP, in files that are named after it.

Which file belongs to which image is decided here, for folders and tars alike, whatever the case and the Unicode form of
the names. A broken sidecar never costs the image: it gives no metadata, and the caller says so in its log.
"""

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from workers.metadata.takeout import read_takeout
from workers.metadata.xmp import read_xmp

MAX_SIDECAR_BYTES = 1024 * 1024
"""A larger file beside an image is no sidecar but something else."""

Kind: TypeAlias = Literal[".txt", ".json", ".xmp"]
KINDS: tuple[Kind, ...] = (".txt", ".json", ".xmp")

_TAKEOUT = ".supplemental-metadata"
TAKEOUT_LONGEST = 46
"""Characters that Google Takeout leaves of a sidecar's name before its ``.json``."""
# fmt: off
_EDITED = re.compile(
    r"-(edited|bearbeitet|modifié|editado|editada|modificato|bewerkt|edytowane|redigerad|redigeret|redigert|muokattu"
    r"|upraveno|düzenlendi|отредактировано|編集済み|已修改|수정됨)$"
)
# fmt: on
_NUMBERED = re.compile(r"(.*)\((\d{1,5})\)$", re.DOTALL)

Key: TypeAlias = tuple[str, str]
"""How a name is looked for: by which rule, and as what."""


class BrokenSidecar(ValueError):
    """A sidecar that holds no metadata we can take; the message says why."""


def kind_of(name: bytes) -> Kind | None:
    """Which kind of sidecar a file of this name would be; None for none."""
    lower = name[-5:].lower()
    return next((kind for kind in KINDS if lower.endswith(kind.encode())), None)


@dataclass(slots=True)
class Beside:
    """The sidecars and images that stand together, in a folder or a stretch of a tar, with folders in their names."""

    _sidecars: defaultdict[Key, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    _exact: defaultdict[bytes, int] = field(default_factory=lambda: defaultdict(int))

    @classmethod
    def of(cls, *, images: Iterable[bytes], sidecars: Iterable[bytes]) -> "Beside":
        """All of these names."""
        here = cls()
        for sidecar in sidecars:
            here.add_sidecar(sidecar)
        for image in images if here._sidecars else ():
            here.add_image(image)
        return here

    def add_image(self, name: bytes) -> None:
        """An image that may own sidecars by their exact name."""
        for own in _exact_bases(name):
            self._exact[own] += 1

    def drop_image(self, name: bytes) -> None:
        """Forget an image."""
        for own in _exact_bases(name):
            self._exact[own] -= 1
            if not self._exact[own]:
                del self._exact[own]

    def add_sidecar(self, name: bytes) -> None:
        """A sidecar, by its name."""
        for key in _sidecar_keys(name):
            self._sidecars[key].append(name)

    def drop_sidecar(self, name: bytes) -> None:
        """Forget a sidecar."""
        for key in _sidecar_keys(name):
            self._sidecars[key].remove(name)
            if not self._sidecars[key]:
                del self._sidecars[key]

    def belonging_to(self, image: bytes) -> Sequence[bytes]:
        """An image's sidecars, the weakest word first."""
        if not self._sidecars:
            return ()
        found = [
            name
            for key in _image_keys(image)
            for name in sorted(self._sidecars.get(key, ()), key=_by_kind)
            if key[0] not in ("stem", "name") or self._may_belong(name, image)
        ]
        return [*dict.fromkeys(reversed(found))][::-1]

    def _may_belong(self, sidecar: bytes, image: bytes) -> bool:
        """Not where the name fits only but for its case or form, and fits another image exactly."""
        base = _base(sidecar)
        return base in _exact_bases(image) or base not in self._exact


def beginning(name: str) -> str:
    """What the names of an image and of all its sidecars begin with, where they agree in case and Unicode form."""
    stem = _WORD.match(name)
    return _EDITED.sub("", stem[0] if stem else "")[: TAKEOUT_LONGEST - len("(99999)")]


_WORD = re.compile(r"\.*[^.(]*")


def _by_kind(name: bytes) -> int:
    return KINDS.index(kind_of(name) or ".txt")


def _base(sidecar: bytes) -> bytes:
    return sidecar[: -len(kind_of(sidecar) or "")]


def _exact_bases(image: bytes) -> tuple[bytes, bytes]:
    """What the name of an image's own sidecar begins with: ``dog.jpg``, ``dog``."""
    folder, slash, name = image.rpartition(b"/")
    return image, folder + slash + (name.rpartition(b".")[0] or name)


def _folded(name: bytes) -> tuple[str, str]:
    """Folder and name, without regard to case and to how accents are written."""
    folder, slash, last = (
        unicodedata.normalize("NFC", name.decode("utf-8", "surrogateescape")).casefold().rpartition("/")
    )
    return folder + slash, last


def _image_keys(image: bytes) -> Iterator[Key]:
    """Under which keys an image's sidecars are found, the weakest first."""
    folder, name = _folded(image)
    stem = name.rpartition(".")[0] or name
    first = name.lstrip(".").partition(".")[0]
    if first and first != stem:
        yield "first", folder + first  # 000.json beside 000.left.jpg
    yield "stem", folder + stem
    original, number = _original(name)
    longest = TAKEOUT_LONGEST - len(number)
    for length in {TAKEOUT_LONGEST, longest} if len(original) >= longest else ():
        yield "cut", f"{folder}{original[:length]}{number}"
    yield "takeout", f"{folder}{original}{number}"
    yield "name", folder + name


def _original(name: str) -> tuple[str, str]:
    """The name before Google edited and numbered it, and the number: ``IMG-edited(1).jpg`` -> ``IMG.jpg``, ``(1)``."""
    stem, dot, extension = name.rpartition(".")
    if not dot:
        return name, ""
    stem = _EDITED.sub("", stem)
    match = _NUMBERED.match(stem)
    number = f"({match[2]})" if match else ""
    stem = _EDITED.sub("", match[1]) if match else stem
    return f"{stem}.{extension}", number


def _sidecar_keys(sidecar: bytes) -> Iterator[Key]:
    """Under which keys a sidecar stands."""
    folder, name = _folded(sidecar)
    base = name[: -len(kind_of(sidecar) or "")]
    yield "name", folder + base
    yield "stem", folder + base
    yield "first", folder + base
    if kind_of(sidecar) != ".json":
        return
    match = _NUMBERED.match(base)
    plain, number = (match[1], f"({match[2]})") if match else (base, "")
    head, dot, tail = plain.rpartition(".")
    if dot and _TAKEOUT.startswith(dot + tail) and "." in head:
        plain = head
    yield "takeout", f"{folder}{plain}{number}"
    if len(plain) in (TAKEOUT_LONGEST, TAKEOUT_LONGEST - len(number)):
        yield "cut", f"{folder}{plain}{number}"


@dataclass(slots=True)
class Sidecars:
    """What an image's sidecars say together: the user's metadata, and fields of the payload."""

    meta: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)

    def add(self, data: bytes, *, kind: Kind) -> None:
        """Read one more, whose word goes before that of the others.

        A text file is ``{"caption": …}``, a JSON object stands as it is, and where it is Google Takeout's it decides
        time and place too; XMP decides fields of the payload. Raises BrokenSidecar for what is too large, not UTF-8,
        no JSON, or no JSON object.
        """
        if len(data) > MAX_SIDECAR_BYTES:
            raise BrokenSidecar(f"larger than {MAX_SIDECAR_BYTES} bytes")
        if kind == ".xmp":
            found = read_xmp(data)
            if not found:
                raise BrokenSidecar("no XMP, or none that says anything")
            self.fields |= found
            return
        try:
            text = data.decode("utf-8-sig")
            value = {"caption": text.strip()} if kind == ".txt" else json.loads(text)
        except (ValueError, RecursionError) as error:  # ValueError: bad UTF-8, bad JSON, an integer of 5,000 digits
            raise BrokenSidecar(f"{type(error).__name__}: {error}") from error
        if not isinstance(value, dict):
            raise BrokenSidecar(f"a JSON object is wanted, this is {type(value).__name__}")
        self.fields |= read_takeout(value)
        self.meta |= {name: each for name, each in value.items() if name != "caption" or each}
