"""The tools for agents: a real client speaks to `polyglance mcp` in another process."""

import asyncio
import base64
import dataclasses
import io
import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp_types import ImageContent, TextContent
from PIL import Image

from connector import ImageSearch, Settings
from connector.integrations.mcp import SmallImages
from tests.conftest import CommandLine
from tests.images import image

Session = Callable[[Callable[[Client], Awaitable[None]]], None]


@pytest.fixture
def session(noto: Settings) -> Session:
    """Runs a conversation with a server over the bundled images."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-P", "-c", "import sys, polyglance; polyglance.main(sys.argv[1:])", "mcp", "--space", "mini"],
        env={**os.environ, "POLYGLANCE_QDRANT__PATH": str(noto.qdrant.path)},
    )

    def run(talk: Callable[[Client], Awaitable[None]]) -> None:
        async def connected() -> None:
            async with Client(server, read_timeout_seconds=120) as client:
                await talk(client)

        asyncio.run(connected())

    return run


async def ask(client: Client, tool: str, **arguments: Any) -> Any:
    """What a tool answers; a failed call fails the test."""
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer.content
    assert answer.structured_content is not None
    return answer.structured_content["result"]


async def shown(client: Client, tool: str, **arguments: Any) -> list[str]:
    """The ids of the images that come along small; each is named in the text before it."""
    answer = await client.call_tool(tool, arguments)
    first, *rest = answer.content
    assert answer.structured_content is not None
    assert isinstance(first, TextContent)
    assert json.loads(first.text) == answer.structured_content["result"]
    names, images = rest[::2], rest[1::2]
    for each in images:
        assert isinstance(each, ImageContent)
        assert each.mime_type == "image/webp"
        with Image.open(io.BytesIO(base64.b64decode(each.data))) as small:
            assert (small.format, max(small.size) <= 320) == ("WEBP", True)
    return [name.text.rstrip(":") for name in names if isinstance(name, TextContent)]


@pytest.mark.parametrize("place", ["outside", "gone"])
def test_what_was_not_ingested_or_is_gone_is_not_shown(noto: Settings, tmp_path: Path, place: str) -> None:
    with ImageSearch.open(settings=noto) as search:
        hit = search.text("ein Hund", limit=1)[0]
    path = tmp_path / "secret.png" if place == "outside" else Path(f"{hit.uri.removeprefix('file://')}.gone.png")
    if place == "outside":
        path.write_bytes(image(1))
    named = dataclasses.replace(hit, payload={**hit.payload, "uri": path.as_uri()})
    with closing(SmallImages(noto)) as small:
        (said,) = small.of(named)
    assert isinstance(said, TextContent)
    assert said.text.startswith(f"{hit.id} cannot be shown: ")
    assert ("outside the places" if place == "outside" else "not there any more") in said.text


async def complaint(client: Client, tool: str, **arguments: Any) -> str:
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error
    return str(json.loads(answer.content[0].model_dump_json())["text"])


def test_an_agent_finds_compares_labels_and_counts_and_is_told_its_mistakes(noto: Settings, session: Session) -> None:
    with ImageSearch.open(settings=noto) as search:
        hits = search.text("ein Hund", limit=5, where="width > 10")
        dogs, relevance = [hit.id for hit in hits], [hit.relevance for hit in hits]
        neighbours = [hit.id for hit in search.like(dogs[0], limit=3)]
        folders = {each.value: each.count for each in search.facets("folder", limit=3)}

    async def talk(client: Client) -> None:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert tools == {"search", "like", "classify", "facets", "alerts", "alert_matches"}
        assert await ask(client, "alerts") == []
        assert "has no alert 'none'" in await complaint(client, "alert_matches", alert="none")
        assert "images" in (client.instructions or "")
        assert "width (integer)" in (client.instructions or "")
        found = await ask(client, "search", text="ein Hund", limit=5, where="width > 10")
        assert [each["id"] for each in found] == dogs
        assert found[0]["uri"].startswith("file:///")
        assert found[0]["known"]["meta"]["name"]
        assert [each["relevance"] for each in found] == relevance
        sure = await ask(client, "search", text="ein Hund", limit=5, where="width > 10", relevant=True)
        assert len(sure) == sum(each is not None and each >= 0.5 for each in relevance)
        assert [each["id"] for each in await ask(client, "like", point_id=dogs[0], limit=3)] == neighbours
        assert await shown(client, "search", text="ein Hund", limit=5, where="width > 10") == dogs[:4]
        assert await shown(client, "like", point_id=dogs[0], limit=3, show=2) == neighbours[:2]
        assert await shown(client, "search", text="ein Hund", show=0) == []
        fits = await ask(client, "classify", point_id=dogs[0], labels=["Katze", "Hund"], language="de")
        assert fits[0]["label"] == "Hund"
        assert sum(fit["probability"] for fit in fits) == pytest.approx(1, abs=0.001)
        counts = await ask(client, "facets", field="folder", limit=3)
        assert {each["value"]: each["count"] for each in counts} == folders
        await err_and_go_on(client)

    session(talk)


async def err_and_go_on(client: Client) -> None:
    """Every mistake is told in words that an agent can act on, and the server goes on."""
    assert "The nearest one is 'width'" in await complaint(client, "search", text="dog", where="widht > 1")
    assert "the text is empty" in await complaint(client, "search", text=" ")
    assert "less than or equal to 100" in await complaint(client, "search", text="dog", limit=1000)
    assert "less than or equal to 20" in await complaint(client, "search", text="dog", show=100)
    assert "is no point id" in await complaint(client, "like", point_id="../../etc/passwd")
    assert "2 to 10,000 labels" in await complaint(
        client, "classify", point_id="00000000-0000-0000-0000-000000000000", labels=["one"]
    )
    assert "cannot be counted" in await complaint(client, "facets", field="location")
    assert len(await ask(client, "search", text="dog")) == 10


@pytest.mark.usefixtures("data_folder")
def test_before_anything_is_ingested_the_way_there_is_told(cli: CommandLine) -> None:
    ran = cli("mcp", "--space", "mini")
    assert ran.code == 1
    assert "`polyglance ingest FOLDER` makes and fills it" in ran.err
