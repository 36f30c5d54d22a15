"""Images with text in them, drawn by code: signs at angles, number plates, screenshots, pages, and some without text.

    python -m benchmarks.written FOLDER [--count 1200] [--seed 20]

writes images and captions.jsonl, which ``polyglance evaluate`` reads: of each image with text the one word that stands
in no other, its language, script and kind. What is drawn depends on the seed and the number of the image alone; the
reader was set by images of seed 20, so what it is worth others tell. The words are names of countries and languages in
Unicode CLDR (by babel), the fonts are Noto's as Debian packages them.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from babel import Locale
from PIL import Image, ImageDraw, ImageFilter, ImageFont, features

from benchmarks import scenes

COUNT = 1_200
SEED = 20
BACKGROUNDS = 12
FONTS = Path("/usr/share/fonts")
LANGUAGES = {
    "Latin": ("en", "de", "fr", "es", "pl", "tr", "vi", "cs"),
    "Cyrillic": ("ru", "uk"),
    "Greek": ("el",),
    "Arabic": ("ar", "fa"),
    "Hebrew": ("he",),
    "Devanagari": ("hi",),
    "Bengali": ("bn",),
    "Tamil": ("ta",),
    "Thai": ("th",),
    "Hangul": ("ko",),
    "Kana": ("ja",),
    "Han": ("zh",),
}
"""Twelve scripts, and the languages that write them here; the Japanese words are in Kana and Han."""
FILES = {
    **dict.fromkeys(("Latin", "Cyrillic", "Greek"), "truetype/noto/NotoSans-{weight}.ttf"),
    **{script: f"truetype/noto/NotoSans{script}-{{weight}}.ttf" for script in ("Arabic", "Hebrew", "Devanagari")},
    **{script: f"truetype/noto/NotoSans{script}-{{weight}}.ttf" for script in ("Bengali", "Tamil", "Thai")},
    **dict.fromkeys(("Hangul", "Kana", "Han"), "opentype/noto/NotoSansCJK-{weight}.ttc"),
}
FACES = {"Kana": 0, "Hangul": 1, "Han": 2}
"""The faces of the CJK collection."""
SHORTEST, LONGEST = 3, 16
"""Letters of a word; Han and Kana say in two what others say in six."""

Kind: TypeAlias = Literal["sign", "plate", "screenshot", "page", "plain"]
KINDS: tuple[Kind, ...] = ("sign", "screenshot", "page")
Colour: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Written:
    """What stands in an image. ``caption`` is the word, empty where there is none; ``angle`` in degrees."""

    image: str
    caption: str
    language: str
    script: str
    kind: Kind
    angle: int
    seed: int


def lacking() -> str | None:
    """What is not on this machine to draw with; None where all is there."""
    if not features.check("raqm"):
        return "Pillow without raqm, which shapes Arabic and Devanagari"
    missing = [name for file in FILES.values() if not (FONTS / (name := file.format(weight="Regular"))).exists()]
    return f"the fonts {', '.join(sorted(set(missing)))} (fonts-noto-core, fonts-noto-cjk)" if missing else None


def plan(count: int, *, seed: int = SEED) -> list[Written]:
    """What ``count`` images will hold: of eight, six a word of a script, one a number plate, one nothing."""
    words = {script: _targets(script, seed) for script in LANGUAGES}
    scripts = [*LANGUAGES]
    found, turn, seen = [], 0, set()
    for number in range(count):
        chance = random.Random(f"{seed}:{number}")
        name = f"{number:05d}.jpg"
        if number % 8 == 7:
            found.append(Written(name, "", "", "", "plain", 0, seed))
        elif number % 8 == 3:
            code = next(each for each in _codes(chance) if each not in seen)
            seen.add(code)
            found.append(Written(name, code, "und", "Code", "plate", chance.randint(-12, 12), seed))
        else:
            script, kind = scripts[turn % len(scripts)], KINDS[turn // len(scripts) % len(KINDS)]
            language, word = next(words[script])
            angle = {"sign": chance.randint(-25, 25), "page": chance.choice((0, 0, 90, 270))}.get(kind, 0)
            found.append(Written(name, word, language, script, kind, angle, seed))
            turn += 1
    return found


def draw(what: Written) -> Image.Image:
    """The image, in RGB."""
    number = int(what.image.partition(".")[0])
    chance = random.Random(f"{what.seed}:{number}:drawn")
    match what.kind:
        case "plain":
            return _background(what, chance)
        case "plate":
            return _plate(what, chance)
        case "sign":
            return _sign(what, chance)
        case "screenshot":
            return _screenshot(what, chance)
        case "page":
            return _page(what, chance).rotate(what.angle, expand=True)


def write(folder: Path, count: int, *, seed: int) -> list[Written]:
    """Write the images and their captions.jsonl into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = plan(count, seed=seed)
    for each in made:
        draw(each).save(folder / each.image, quality=88)
    lines = [json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in made if each.caption]
    (folder / "captions.jsonl").write_text("".join(lines), encoding="utf-8")
    return made


# ---- words


def _targets(script: str, seed: int) -> Iterator[tuple[str, str]]:
    """Names of countries, each once, the languages of a script in turn."""
    names = [[(language, name) for name in _names(language, "territories", seed)] for language in LANGUAGES[script]]
    seen: set[str] = set()
    for row in zip(*names, strict=False):
        for language, name in row:
            if name.casefold() not in seen:
                seen.add(name.casefold())
                yield language, name


@cache
def _names(language: str, kind: Literal["territories", "languages"], seed: int) -> list[str]:
    """In an order of chance that is always the same."""
    short = 2 if language in ("zh", "ja", "ko") else SHORTEST
    values = getattr(Locale.parse(language), kind).values()
    plain = sorted(
        {name for name in values if short <= len(name) <= LONGEST and not set(name) & set("()[]/0123456789")}
    )
    random.Random(f"{seed}:{language}:{kind}").shuffle(plain)
    return plain


def _codes(chance: random.Random) -> Iterator[str]:
    letters = "ABCDEFGHJKLMNPRSTUVWXYZ"
    while True:
        first, last = (("".join(chance.choices(letters, k=chance.randint(1, 3)))) for _ in range(2))
        yield chance.choice(
            (
                f"{first} {last} {chance.randint(10, 9999)}",
                f"{first}{chance.randint(10, 99)} {last}",
                f"{chance.randint(10, 99)} {last} {chance.randint(100, 999)}",
            )
        )


# ---- drawing


def _font(script: str, size: int, chance: random.Random) -> ImageFont.FreeTypeFont:
    file = FONTS / FILES.get(script, FILES["Latin"]).format(weight=chance.choice(("Regular", "Bold")))
    return ImageFont.truetype(str(file), size, index=FACES.get(script, 0))


@cache
def _scene(number: int) -> Image.Image:
    return scenes.draw(number, scenes.Exposure()).resize((1024, 768), Image.Resampling.BICUBIC)


def _background(what: Written, chance: random.Random) -> Image.Image:
    image = _scene(BACKGROUNDS * (what.seed - SEED) + chance.randrange(BACKGROUNDS)).copy()
    return image.filter(ImageFilter.GaussianBlur(chance.uniform(0, 1.5)))


def _colours(chance: random.Random) -> tuple[Colour, Colour]:
    """Of ink and paper, far enough apart to be read."""
    dark = (chance.randrange(0, 90), chance.randrange(0, 90), chance.randrange(0, 90))
    light = (chance.randrange(180, 256), chance.randrange(180, 256), chance.randrange(180, 256))
    return (dark, light) if chance.random() < 0.6 else (light, dark)


def _board(text: str, font: ImageFont.FreeTypeFont, *, ink: Colour, paper: Colour, border: int) -> Image.Image:
    left, top, right, bottom = font.getbbox(text)
    edge = int(font.size) // 2
    board = Image.new("RGBA", (round(right - left) + 2 * edge, round(bottom - top) + 2 * edge), (*paper, 255))
    pen = ImageDraw.Draw(board)
    pen.text((edge - left, edge - top), text, font=font, fill=ink)
    if border:
        pen.rectangle((border, border, board.width - 1 - border, board.height - 1 - border), outline=ink, width=border)
    return board


def _hung(board: Image.Image, what: Written, chance: random.Random) -> Image.Image:
    """A board in a scene, at its angle."""
    image = _background(what, chance)
    if board.width > image.width * 0.8:
        board = board.resize((round(image.width * 0.8), round(board.height * image.width * 0.8 / board.width)))
    board = board.rotate(what.angle, expand=True, resample=Image.Resampling.BICUBIC)
    x = chance.randint(0, max(0, image.width - board.width))
    y = chance.randint(0, max(0, image.height - board.height))
    image.paste(board, (x, y), board)
    return _photographed(image, chance)


def _photographed(image: Image.Image, chance: random.Random) -> Image.Image:
    """With a camera's blur and noise."""
    image = image.filter(ImageFilter.GaussianBlur(chance.uniform(0.2, 1.0)))
    noise = np.random.default_rng(chance.randrange(2**32)).normal(0, 5, (image.height, image.width, 1))
    return Image.fromarray(np.clip(np.asarray(image, dtype=np.float32) + noise, 0, 255).astype(np.uint8))


def _sign(what: Written, chance: random.Random) -> Image.Image:
    ink, paper = _colours(chance)
    font = _font(what.script, chance.randint(40, 84), chance)
    return _hung(_board(what.caption, font, ink=ink, paper=paper, border=chance.choice((0, 3))), what, chance)


def _plate(what: Written, chance: random.Random) -> Image.Image:
    paper: Colour = chance.choice(((245, 245, 245), (250, 210, 60), (230, 235, 240)))
    board = _board(
        what.caption, _font("Latin", chance.randint(36, 60), chance), ink=(15, 15, 20), paper=paper, border=3
    )
    return _hung(board, what, chance)


def _screenshot(what: Written, chance: random.Random) -> Image.Image:
    """A window: its title, a side bar, rows of text; the word is one of the rows."""
    night = chance.random() < 0.4
    paper, ink, bar = (
        ((24, 26, 30), (225, 225, 225), (44, 48, 56)) if night else ((250, 250, 250), (30, 30, 30), (228, 230, 235))
    )
    image = Image.new("RGB", chance.choice(((1280, 800), (720, 1280), (1024, 768))), paper)
    pen = ImageDraw.Draw(image)
    size = chance.randint(20, 30)
    font = _font(what.script, size, chance)
    filler = _fillers(what, chance)
    pen.rectangle((0, 0, image.width, 2 * size), fill=bar)
    pen.text((size, size // 3), next(filler), font=font, fill=ink)
    side = image.width // 4
    pen.rectangle((0, 2 * size, side, image.height), fill=bar)
    rows = min(14, (image.height - 4 * size) // (2 * size))
    place = chance.randrange(rows)
    for row in range(rows):
        y = 3 * size + row * 2 * size
        pen.ellipse((side + size // 2, y + 4, side + size, y + 4 + size // 2), fill=ink)
        said = f"{what.caption}" if row == place else f"{next(filler)}   {next(filler)}"
        pen.text((side + 2 * size, y), said, font=font, fill=ink)
    return image


def _page(what: Written, chance: random.Random) -> Image.Image:
    """A scanned page: a heading, lines of words, the word among them on a line of its own."""
    image = Image.new("RGB", (900, 1200), (252, 250, chance.randint(235, 250)))
    pen = ImageDraw.Draw(image)
    size = chance.randint(22, 30)
    font, filler = _font(what.script, size, chance), _fillers(what, chance)
    pen.text((80, 70), next(filler), font=_font(what.script, 2 * size, chance), fill=(20, 20, 30))
    rows = (1200 - 260) // (2 * size)
    place = chance.randrange(1, rows)
    for row in range(rows):
        text = what.caption if row == place else ", ".join(next(filler) for _ in range(3))
        pen.text((80, 190 + row * 2 * size), text, font=font, fill=(25, 25, 35))
    return _photographed(image, chance)


def _fillers(what: Written, chance: random.Random) -> Iterator[str]:
    names = _names(what.language, "languages", what.seed)
    while True:
        yield chance.choice(names)


def main() -> None:
    """Write what the command line asks for."""
    if (said := lacking()) is not None:
        sys.exit(f"cannot draw: {said}")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    made = write(given.folder, given.count, seed=given.seed)
    print(f"{len(made)} images and {given.folder / 'captions.jsonl'}")


if __name__ == "__main__":
    main()
