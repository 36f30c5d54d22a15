"""Tools for agents over the Model Context Protocol: search, like, classify, facets, alerts. Needs the extra ``mcp``.

The rule: read only, and only what was ingested. An image is named by the id of its point, never by a path; the best
ones of an answer come along small, for the agent to look at.
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Annotated, Any, TypeAlias, TypeVar, Unpack

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, ContentBlock, ImageContent, TextContent, ToolAnnotations
from pydantic import Field

from connector.alerts.alert import counted_alerts, find_alert
from connector.errors import OriginalError, PolyglanceError, UnreadableImage
from connector.images.shrink import shrink
from connector.records import Hit, Reason
from connector.search.classify import classify
from connector.search.client import ImageSearch
from connector.search.hits import Hits
from connector.search.options import SearchArguments, search_options, with_parameters
from connector.search.query import as_query, feedback, point
from connector.service.originals import Originals
from connector.service.roots import Roots
from connector.settings import Settings

T = TypeVar("T", bound=Callable[..., Any])
READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
OMITTED = ("uri", "object_key", "source", "version", "content_hash", "ingested_at", "thumbnail_url", "labels")
"""Fields of a payload that tell an agent nothing more."""

MAX_LIMIT = 100
"""Hits in one answer: an agent reads them all."""

MAX_SHOWN = 20
"""Small images in one answer: each takes a few hundred tokens of an agent's context."""

PointIds: TypeAlias = Annotated[
    list[str] | None, Field(max_length=64, description="Ids of images that were found before.")
]
PointId = Annotated[str, Field(description="The id of an image that was found before.")]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """An image: its cosine to the question, how sure it is that it fits (0 to 1), why, and what is known of it."""

    id: str
    score: float
    relevance: float | None
    reasons: list[Reason]
    uri: str
    known: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fit:
    """A label and its probability among those that were given."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Count:
    """A value and how many images have it."""

    value: str | int | bool
    count: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that stays asked: its filter, and how many images fitted it."""

    id: str
    question: str
    where: str | None
    matches: int


Found: TypeAlias = Annotated[CallToolResult, list[SearchResult]]
Shown = Annotated[int, Field(ge=0, le=MAX_SHOWN, description="So many of the best come along as small images.")]


class SmallImages:
    """Small images of what was ingested, and of nothing else."""

    def __init__(self, settings: Settings) -> None:
        self._originals = Originals(settings)
        self._roots = Roots(settings)
        self._size = settings.serve.thumbnail_px
        self._max_pixels = settings.limits.max_pixels

    def of(self, hit: Hit) -> Iterator[ContentBlock]:
        """Which image it is, and the image; or why it cannot be shown."""
        try:
            self._roots.check(hit.uri)
            data = self._originals.find(hit.payload).whole()
            small = shrink(data, size=self._size, max_pixels=self._max_pixels)
        except (OriginalError, UnreadableImage) as error:
            yield TextContent(text=f"{hit.id} cannot be shown: {error}")
        else:
            yield TextContent(text=f"{hit.id}:")
            yield ImageContent(data=base64.b64encode(small).decode("ascii"), mime_type="image/webp")

    def close(self) -> None:
        """Close the connections."""
        self._originals.close()


def make_server(search: ImageSearch, *, small: SmallImages) -> MCPServer[Any]:
    """A server whose tools ask this collection; run it with ``.run("stdio")``."""
    server: MCPServer[Any] = MCPServer("polyglance", instructions=_instructions(search), log_level="WARNING")

    @server.tool(name="search", annotations=READS)
    @_takes_search_options
    def by_text(
        text: Annotated[str, Field(description="What the image shows, or words about or in it, in any language.")],
        show: Shown = 4,
        more_like: PointIds = None,
        less_like: PointIds = None,
        **options: Unpack[SearchArguments],
    ) -> Found:
        """Find images by text in any language, best first: by what they show, and by captions, tags, names and text
        in them; ``reasons`` says which. ``more_like`` and ``less_like`` steer by images that were found before."""
        with _errors_translated():
            query = feedback(as_query(text), more=more_like or (), less=less_like or ())
            return _answer(search.query(query, **options), show=show, small=small)

    @server.tool(annotations=READS)
    @_takes_search_options
    def like(
        point_id: PointId, show: Shown = 4, less_like: PointIds = None, **options: Unpack[SearchArguments]
    ) -> Found:
        """Find the images that look most like a stored one."""
        with _errors_translated():
            query = feedback(point(point_id), less=less_like or ())
            return _answer(search.query(query, **options), show=show, small=small)

    @server.tool(name="classify", annotations=READS)
    def which_label(
        point_id: PointId,
        labels: Annotated[list[str], Field(description="What to choose from, in any language; two or more.")],
        language: Annotated[str | None, Field(description="Code of the labels' language: de, pt-BR.")] = None,
    ) -> list[Fit]:
        """Say which label fits a stored image best; the probabilities add up to 1 over the labels given."""
        with _errors_translated():
            (ranked,) = classify(search, [point(point_id)], labels=labels, language=language)
            return [Fit(each.name, round(each.probability, 4)) for each in ranked]

    @server.tool(annotations=READS)
    @_takes_search_options
    def facets(
        field: Annotated[str, Field(description="A keyword, integer or bool field, such as folder.")],
        of: Annotated[str | None, Field(description="Count among the 1,000 nearest to this text.")] = None,
        **options: Unpack[SearchArguments],
    ) -> list[Count]:
        """Count the most frequent values of a field: in the collection, or among the images nearest to a text."""
        with _errors_translated():
            return [Count(each.value, each.count) for each in search.facets(field, of=of, **options)]

    @server.tool(annotations=READS)
    def alerts() -> list[Asked]:
        """List the questions that stay asked, each with how many images fitted it when they came in."""
        with _errors_translated():
            found = counted_alerts(search.following.now().engine)
            return [Asked(each.alert.id, each.alert.question, each.alert.where, each.matches) for each in found]

    @server.tool(annotations=READS)
    def alert_matches(
        alert: Annotated[str, Field(description="The id of an alert.")],
        show: Shown = 4,
        limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 20,
    ) -> Found:
        """The images that fitted a question that stays asked, the newest first."""
        with _errors_translated():
            info = search.info()
            asked = find_alert(info.schema, alert, collection=search.following.now().engine.collection)
            page = search.page(where=asked.expression(), order_by="-ingested_at", limit=limit)
            hits = [Hit(each.id, 0.0, each.payload) for each in page.points]
            return _answer(Hits(hits), show=show, small=small)

    return server


def _takes_search_options(tool: T) -> T:
    """A tool with ``**options`` whose schema has every field of ``SearchOptions``."""
    parameters = {each.name: (each.annotation, each.default) for each in search_options()}
    kind, default = parameters["limit"]
    parameters["limit"] = (Annotated[kind, Field(le=MAX_LIMIT)], default)
    return with_parameters(tool, parameters)


def _instructions(search: ImageSearch) -> str:
    info = search.info()
    fields = ", ".join(f"{name} ({kind})" for name, kind in info.schema.indexes.items())
    return (
        f"A collection of {info.points:,} images, searched by what they show, in any language. Filters join "
        "comparisons by and, or, not: == != < <= > >= for numbers and dates (taken_at >= 2024-05-01), "
        'format in ("jpeg", "png"), "beach" in tags, folder startswith "2024/", near(location, 48.2, 16.37, km=5), '
        f"exists(location). Fields: {fields}."
    )


def _answer(hits: Hits, *, show: int, small: SmallImages) -> CallToolResult:
    found = [asdict(_result(hit)) for hit in hits]
    content: list[ContentBlock] = [TextContent(text=json.dumps(found, ensure_ascii=False))]
    for chip in hits.understood:
        content.append(
            TextContent(text=f"{chip.words!r} was read as {chip.where}; literal={chip.words!r} takes it back.")
        )
    for hit in hits[:show]:
        content += small.of(hit)
    return CallToolResult(content=content, structured_content={"result": found})


def _result(hit: Hit) -> SearchResult:
    known: Mapping[str, Any] = {name: value for name, value in hit.payload.items() if name not in OMITTED}
    return SearchResult(hit.id, round(hit.score, 4), hit.relevance, [*hit.reasons], hit.uri, dict(known))


@contextmanager
def _errors_translated() -> Iterator[None]:
    """Our errors as the tool's answer, for the agent to read and do better."""
    try:
        yield
    except PolyglanceError as error:
        raise ToolError(str(error)) from error
