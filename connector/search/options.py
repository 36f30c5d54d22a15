"""SearchOptions: what may be asked for beside the question itself, defined, documented and checked once.

The rule: Python, REST, the command line, MCP and LangChain all read these fields. A new option is a new field here and
its type in ``SearchArguments``, which is what type checkers and editors know of it.
"""

import inspect
import math
import re
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeAlias,
    TypedDict,
    TypeGuard,
    TypeVar,
    cast,
    get_args,
    get_type_hints,
)

from pydantic import Field

from connector.errors import InvalidQuery
from connector.store.points import point_id_of

if TYPE_CHECKING:
    from qdrant_client.models import Filter

    Where: TypeAlias = str | Filter | None
else:
    Where = str | None  # all that travels as JSON; to name Filter here would load qdrant-client

CANDIDATES = 5
"""Nearest hits looked at for each one wanted, and ``LEAST`` at least."""
LEAST = 100
MAX_TEXT = 10_000
"""Characters in one question; the text towers read far fewer."""
LANGUAGE_TAG = re.compile(r"([A-Za-z]{2,3})(-[A-Za-z0-9]{1,8})*")
_SILENT = ("Cc", "Cf", "Mn", "Zl", "Zp", "Zs")
"""Categories of characters that say nothing alone: spaces, joiners, direction marks, variation selectors."""
MAX_LIMIT = 10_000
"""Hits in one answer, and the deepest offset."""
GROUPED = 1_000
"""Nearest images that groups and the facets of a question are made of."""

Modality: TypeAlias = Literal["text", "image"]
"""What a query's vector was made of: cosines of texts and of images to images are not of one kind."""
Mode: TypeAlias = Literal["visual", "words", "hybrid"]
"""What answers a question: what images show, the words about and in them, or both."""
F = TypeVar("F", bound=Callable[..., Any])
_MODES = "'visual', 'words', 'hybrid' or None"


class PageArguments(TypedDict, total=False):
    """The fields of ``PageOptions`` as keyword arguments."""

    limit: int
    offset: int
    where: Where


class SearchArguments(PageArguments, total=False):
    """The fields of ``SearchOptions`` as keyword arguments."""

    min_score: float | None
    diversity: float
    relevant: bool
    language: str | None
    understand: bool
    literal: str | None
    mode: Mode | None
    recent: bool
    prefer: Where
    order_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOptions:
    """Which images of a list are wanted. Raises InvalidQuery for what does not fit."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="How many images, groups or values.")] = 10
    offset: Annotated[int, Field(ge=0, le=MAX_LIMIT, description="How many to pass over.")] = 0
    where: Annotated[
        Where, Field(description="Filter, such as 'width >= 1024 and folder == \"holiday\"'.", examples=["width >= 64"])
    ] = field(default=None, hash=False)

    def __post_init__(self) -> None:
        check_between("limit", self.limit, 1, MAX_LIMIT)
        check_between("offset", self.offset, 0, MAX_LIMIT)

    def page_arguments(self) -> PageArguments:
        """Limit, offset and filter as keyword arguments, for what takes no question."""
        return cast("PageArguments", {each.name: getattr(self, each.name) for each in fields(PageOptions)})


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions(PageOptions):
    """What is wanted of the answer to a question. Raises InvalidQuery for what does not fit."""

    min_score: Annotated[float | None, Field(ge=-1, le=1, description="Leave out hits below this cosine.")] = None
    diversity: Annotated[
        float, Field(ge=0, le=1, description="From 0 to 1: trade nearness for hits that do not repeat one another.")
    ] = 0.0
    relevant: Annotated[
        bool,
        Field(description="Leave out what does not fit (relevance below 0.5): nothing comes where nothing fits."),
    ] = False
    language: Annotated[
        str | None,
        Field(max_length=35, description="Language of the text, such as en, where it is known.", examples=["de"]),
    ] = None
    understand: Annotated[
        bool, Field(description="Read dates and places in the text as a filter; what is left of it is compared.")
    ] = True
    literal: Annotated[
        str | None,
        Field(
            max_length=MAX_TEXT,
            description="Words of the text in which no date or place is read, such as 'Juli 2023'.",
            examples=["im Juli 2023"],
        ),
    ] = None
    mode: Annotated[
        Mode | None,
        Field(
            description="What answers: visual, what images show; words, captions, tags, names and text in images; "
            "hybrid, both. By default hybrid where the collection has words and the question a text."
        ),
    ] = None
    recent: Annotated[bool, Field(description="Prefer what was taken lately, mildly: half as much a year ago.")] = False
    prefer: Annotated[
        Where,
        Field(description="Filter whose images come earlier, if about as near.", examples=["rating >= 4"]),
    ] = field(default=None, hash=False)
    order_by: Annotated[
        str | None,
        Field(
            max_length=200,
            description="Put the relevant ones in the order of this number or date: the least first, with a minus in "
            "front the greatest, so -taken_at is the latest first.",
            examples=["-taken_at"],
        ),
    ] = None

    def __post_init__(self) -> None:
        PageOptions.__post_init__(self)  # slots give the class anew, and super() would look for the old one
        if self.min_score is not None and not (is_number(self.min_score) and -1 <= self.min_score <= 1):
            raise InvalidQuery(f"min_score is {shown(self.min_score)}; a cosine lies between -1 and 1.")
        if not (is_number(self.diversity) and 0 <= self.diversity <= 1):
            raise InvalidQuery(f"diversity is {shown(self.diversity)}; it must be between 0 and 1.")
        if not isinstance(self.relevant, bool):
            raise InvalidQuery(f"relevant is {shown(self.relevant)}; True or False is wanted.")
        if not isinstance(self.understand, bool):
            raise InvalidQuery(f"understand is {shown(self.understand)}; True or False is wanted.")
        if self.literal is not None and not (isinstance(self.literal, str) and len(self.literal) <= MAX_TEXT):
            raise InvalidQuery(f"literal is {shown(self.literal)}; words of the question are wanted.")
        check_language(self.language)
        if self.mode not in (None, *get_args(Mode)):
            raise InvalidQuery(f"mode is {shown(self.mode)}; {_MODES} is wanted.")
        if not isinstance(self.recent, bool):
            raise InvalidQuery(f"recent is {shown(self.recent)}; True or False is wanted.")
        if self.order_by is not None:
            order_of(self.order_by)
            if not self.relevant:
                raise InvalidQuery(
                    f"order_by is {shown(self.order_by)}, an order of the relevant ones; give relevant with it."
                )
            if self.diversity or self.recent or self.prefer is not None:
                raise InvalidQuery(
                    f"order_by is {shown(self.order_by)}, which leaves no room for another order; leave diversity, "
                    "recent and prefer out."
                )
        if self.mode == "words" and self.min_score is not None:
            raise InvalidQuery(
                f"min_score is {shown(self.min_score)}, a cosine; mode words compares no vectors. Take relevant."
            )

    @property
    def ranks_anew(self) -> bool:
        """Whether anything but nearness is to decide the order."""
        return self.recent or self.prefer is not None or self.order_by is not None

    @property
    def candidates(self) -> int:
        """How many of the nearest are looked at to find diverse ones."""
        return min(MAX_LIMIT, max(LEAST, CANDIDATES * (self.offset + self.limit)))

    def arguments(self) -> SearchArguments:
        """These options as keyword arguments of ``ImageSearch``."""
        return cast("SearchArguments", {each.name: getattr(self, each.name) for each in fields(SearchOptions)})


@dataclass(frozen=True, slots=True)
class Order:
    """An order of images by a number or a date."""

    key: str
    descending: bool


def narrowed(where: "Filter | None", by: "Filter | None") -> "Filter | None":
    """Both conditions together."""
    if where is None or by is None:
        return where or by
    from qdrant_client import models

    return models.Filter(must=[where, by])


def order_of(text: str) -> Order:
    """The order that ``order_by`` names: the least first, with ``-`` in front the greatest. Raises InvalidQuery."""
    key = text.removeprefix("-") if isinstance(text, str) else ""
    if not key or key[0] in "+- ":
        raise InvalidQuery(
            f"order_by is {shown(text)}; a field that holds a number or a date is wanted: width for the least first, "
            "-width for the greatest."
        )
    return Order(key, descending=text.startswith("-"))


@dataclass(frozen=True, slots=True)
class Option:
    """A field of ``SearchOptions`` as the doors need it; ``annotation`` carries its bounds and description."""

    name: str
    annotation: Any
    default: Any

    @property
    def description(self) -> str:
        """What the option is for, in one sentence."""
        return str(self.annotation.__metadata__[0].description)


def search_options() -> Iterator[Option]:
    """Every option of a search, in the order of the fields."""
    hints = get_type_hints(SearchOptions, include_extras=True)
    return (Option(each.name, hints[each.name], each.default) for each in fields(SearchOptions))


def with_parameters(function: F, parameters: Mapping[str, tuple[Any, Any]], *, before: str = "") -> F:
    """The function, its ``**options`` written out for frameworks that read signatures.

    ``parameters`` maps names to annotation and default; they stand before the parameter named, or last.
    """
    signature = inspect.signature(function, eval_str=True)
    kept = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    made = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation, default=default)
        for name, (annotation, default) in parameters.items()
    ]
    at = next((number for number, each in enumerate(kept) if each.name == before), len(kept))
    function.__signature__ = signature.replace(parameters=[*kept[:at], *made, *kept[at:]])  # type: ignore[attr-defined]
    return function


def check_texts(texts: Sequence[str]) -> None:
    """Raise InvalidQuery for the first text that asks nothing, with the character that is wrong."""
    if isinstance(texts, str):
        raise InvalidQuery("texts is one string, not a list of them; for a single text there is text().")
    for number, text in enumerate(texts):
        check_text("the text" if len(texts) == 1 else f"text {number + 1} of {len(texts)}", text)


def check_text(what: str, text: str) -> None:
    """Raise InvalidQuery unless the text says something, is Unicode, and is no longer than MAX_TEXT."""
    if not isinstance(text, str):
        raise InvalidQuery(f"{what} is {type(text).__name__}, not a string.")
    if len(text) > MAX_TEXT:
        raise InvalidQuery(f"{what} has {len(text)} characters; {MAX_TEXT} are allowed.")
    for place, letter in enumerate(text, 1):
        if (unicodedata.category(letter) == "Cc" and not letter.isspace()) or "\ud800" <= letter <= "\udfff":
            raise InvalidQuery(
                f"character {place} of {what} is {_named(letter)}; readable text is wanted.", position=place
            )
    if all(unicodedata.category(letter) in _SILENT for letter in text):
        raise InvalidQuery(f"{what} is empty; say what the image shows.")


def _named(letter: str) -> str:
    kind = "half a surrogate pair, so no Unicode" if "\ud800" <= letter <= "\udfff" else "a control character"
    return f"U+{ord(letter):04X}, {kind}"


def check_language(language: str | None) -> None:
    """Raise InvalidQuery for what is no language tag; None means that the language is not known."""
    if language is not None and not (isinstance(language, str) and LANGUAGE_TAG.fullmatch(language)):
        raise InvalidQuery(f"language is {shown(language)}; a tag such as en, de or zh-TW is wanted.")


def as_point_id(text: str) -> str:
    """The id in the one form that the store knows it by."""
    try:
        return point_id_of(text)
    except ValueError:
        raise InvalidQuery(f"{shown(text)} is no point id; one looks like {uuid.UUID(int=0)}.") from None


def check_between(name: str, value: int, least: int, greatest: int) -> None:
    """Raise InvalidQuery unless ``value`` is a whole number within the bounds."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidQuery(f"{name} is {shown(value)}; a whole number between {least} and {greatest} is wanted.")
    if not least <= value <= greatest:
        raise InvalidQuery(f"{name} is {shown(value)}; it must be between {least} and {greatest}.")


def is_number(value: object) -> TypeGuard[float]:
    """Whether this is a finite number, and no boolean."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 10**300 if isinstance(value, int) else math.isfinite(value)  # larger ones are no floats


def shown(value: object) -> str:
    """The value as a message repeats it, shortened where it is long."""
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a number of more than 30 digits"  # Python itself refuses to print one of 5,000
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
