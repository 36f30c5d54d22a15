"""Sentences that a label stands in before it is embedded, by language: models of captions were trained on sentences.

The rule: a sentence must be right for any label. Where a noun changes its ending inside one, a colon keeps it out.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from connector.errors import InvalidQuery
from connector.search.options import check_text

PLAIN = ("{}",)
"""The template of a language that has none of its own: the label alone."""
TEMPLATES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ar": ("{}", "صورة {}", "رسم {}"),
        "cs": ("{}", "fotka: {}", "obrázek: {}"),
        "da": ("{}", "et foto af {}", "et billede af {}"),
        "de": ("{}", "ein Foto: {}", "ein Bild von: {}"),
        "el": ("{}", "φωτογραφία: {}", "εικόνα: {}"),
        "en": ("{}", "a photo of a {}", "an image of a {}"),
        "es": ("{}", "una foto de {}", "una imagen de {}"),
        "fa": ("{}", "عکس {}", "تصویر {}"),
        "fi": ("{}", "valokuva: {}", "kuva: {}"),
        "fr": ("{}", "une photo de {}", "une image de {}"),
        "he": ("{}", "תמונה של {}", "צילום של {}"),
        "hu": ("{}", "fénykép: {}", "kép: {}"),
        "id": ("{}", "foto {}", "gambar {}"),
        "it": ("{}", "una foto di {}", "un'immagine di {}"),
        "ja": ("{}", "{}の写真", "{}の絵"),
        "ko": ("{}", "{} 사진", "{} 그림"),
        "nl": ("{}", "een foto van {}", "een afbeelding van {}"),
        "pl": ("{}", "zdjęcie: {}", "obraz: {}"),
        "pt": ("{}", "uma foto de {}", "uma imagem de {}"),
        "ro": ("{}", "o fotografie cu {}", "o imagine cu {}"),
        "ru": ("{}", "фото: {}", "картинка: {}"),
        "sv": ("{}", "ett foto av {}", "en bild av {}"),
        "tr": ("{}", "{} fotoğrafı", "{} resmi"),
        "uk": ("{}", "фото: {}", "зображення: {}"),
        "vi": ("{}", "ảnh {}", "hình vẽ {}"),
        "zh": ("{}", "{}的照片", "{}的图片"),
    }
)
"""A few good sentences by language."""


def templates_of(language: str | None) -> tuple[str, ...]:
    """The default sentences of a language, by its code (``de``, ``pt-BR``); the label alone where there are none."""
    if not isinstance(language, str):
        return PLAIN
    return TEMPLATES.get(language.lower().replace("_", "-").split("-")[0], PLAIN)


def check_templates(templates: Sequence[str]) -> None:
    """Raise InvalidQuery unless each template has exactly one place for the label."""
    if isinstance(templates, str) or not templates:
        raise InvalidQuery("give a list of templates, such as ['a photo of a {}'].")
    for template in templates:
        check_text("a template", template)
        if template.count("{}") != 1:
            raise InvalidQuery(f"each template needs one {{}} where the label goes; given: {template!r}.")
