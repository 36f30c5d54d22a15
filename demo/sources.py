"""Every package the demo is made from, pinned, with its licence and the one use it is put to.

The rule to know: a set whose use is `MEASURED` never reaches training, the tokenizer or any choice of a setting.
"""

from dataclasses import dataclass
from enum import Enum


class Use(Enum):
    """What a package is used for."""

    BUNDLED = "trained on, and its images are bundled"
    TRAINED = "trained on"
    MEASURED = "measured on only"
    WORDS = "names and keywords"
    CATEGORIES = "categories and versions"


class Layout(Enum):
    """How a package keeps its images."""

    ICONIFY = "icons.json: SVG bodies under slugs"
    WEBP = "assets/<code points>.webp"
    DATA = "no images"


@dataclass(frozen=True, slots=True)
class Source:
    """One npm package: what it is, whose it is, and what is done with it."""

    package: str
    version: str
    licence: str
    author: str
    home: str
    use: Use
    layout: Layout = Layout.ICONIFY

    @property
    def name(self) -> str:
        """The package's last name, unique here: the folder it is unpacked to."""
        return self.package.rsplit("/", 1)[-1]


GOOGLE, EMOJI_ONE, MICROSOFT = "Google Inc", "Emoji One", "Microsoft Corporation"
NOTO_HOME = "https://github.com/googlefonts/noto-emoji"
FLUENT_HOME = "https://github.com/microsoft/fluentui-emoji"
UNICODE = "Unicode, Inc."
CLDR_HOME = "https://github.com/unicode-org/cldr-json"

SOURCES: tuple[Source, ...] = (
    Source("@iconify-json/noto", "1.2.9", "Apache-2.0", GOOGLE, NOTO_HOME, Use.BUNDLED),
    Source("@iconify-json/noto-v1", "1.2.5", "Apache-2.0", GOOGLE, NOTO_HOME, Use.TRAINED),
    Source("@iconify-json/fluent-emoji", "1.2.7", "MIT", MICROSOFT, FLUENT_HOME, Use.TRAINED),
    Source("@iconify-json/fluent-emoji-flat", "1.2.6", "MIT", MICROSOFT, FLUENT_HOME, Use.TRAINED),
    Source("@iconify-json/fluent-emoji-high-contrast", "1.2.6", "MIT", MICROSOFT, FLUENT_HOME, Use.TRAINED),
    Source("@lobehub/fluent-emoji-3d", "1.1.0", "MIT", MICROSOFT, FLUENT_HOME, Use.TRAINED, Layout.WEBP),
    Source(
        "@iconify-json/openmoji",
        "1.2.29",
        "CC-BY-SA-4.0",
        "OpenMoji",
        "https://github.com/hfg-gmuend/openmoji",
        Use.TRAINED,
    ),
    Source(
        "@iconify-json/emojione-v1",
        "1.2.3",
        "CC-BY-SA-4.0",
        EMOJI_ONE,
        "https://github.com/joypixels/emojione-legacy",
        Use.TRAINED,
    ),
    Source(
        "@iconify-json/emojione", "1.2.3", "CC-BY-4.0", EMOJI_ONE, "https://github.com/EmojiTwo/emojitwo", Use.TRAINED
    ),
    Source(
        "@iconify-json/emojione-monotone",
        "1.2.1",
        "CC-BY-4.0",
        EMOJI_ONE,
        "https://github.com/EmojiTwo/emojitwo",
        Use.TRAINED,
    ),
    Source(
        "@iconify-json/fxemoji", "1.2.2", "Apache-2.0", "Mozilla", "https://github.com/mozilla/fxemoji", Use.TRAINED
    ),
    Source(
        "@iconify-json/streamline-emojis",
        "1.2.4",
        "CC-BY-4.0",
        "Streamline",
        "https://github.com/webalys-hq/streamline-vectors",
        Use.TRAINED,
    ),
    Source(
        "@iconify-json/twemoji", "1.2.5", "CC-BY-4.0", "Twitter", "https://github.com/jdecked/twemoji", Use.MEASURED
    ),
    Source("cldr-annotations-full", "48.2.0", "Unicode-3.0", UNICODE, CLDR_HOME, Use.WORDS, Layout.DATA),
    Source(
        "emojibase-data",
        "17.0.0",
        "MIT",
        "Miles Johnson",
        "https://github.com/milesj/emojibase",
        Use.CATEGORIES,
        Layout.DATA,
    ),
)

LANGUAGES: tuple[str, ...] = (
    "ar", "bg", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "fr-CA", "gl", "gu", "he", "hi", "hr",
    "hu", "hy", "id", "it", "ja", "ka", "ko", "ku", "lt", "lv", "mk", "mn", "mr", "ms", "my", "nb", "nl", "pl", "pt",
    "pt-BR", "ro", "ru", "sk", "sl", "sq", "sr", "sv", "th", "tr", "uk", "ur", "vi", "zh-CN", "zh-TW",
)  # fmt: skip


def source(name: str) -> Source:
    """The pinned package called `name`."""
    return next(one for one in SOURCES if one.name == name)


def styles(*uses: Use) -> tuple[Source, ...]:
    """The image sets put to one of `uses`, in order."""
    return tuple(one for one in SOURCES if one.use in uses and one.layout is not Layout.DATA)
