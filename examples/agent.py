"""What an agent does with images: a client session over MCP that searches, looks at the best image, and asks on.

    python examples/agent.py "ein Hund" --collection demo

An agent's framework starts `polyglance mcp` in the same way; here the steps are written out.
"""

import argparse
import asyncio
import base64
import os
import sys
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from mcp_types import ImageContent

SPACE = os.environ.get("POLYGLANCE_MODEL__SPACE", "mini")


async def work(question: str, *, collection: str, kept: Path) -> None:
    """Search, keep the best image as it was shown, and find what looks like it."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "polyglance", "mcp", "--space", SPACE, "--collection", collection],
        env=dict(os.environ),
    )
    async with Client(server) as session:
        print("tools:", ", ".join(tool.name for tool in (await session.list_tools()).tools))
        found = await session.call_tool("search", {"text": question, "limit": 3, "show": 1})
        hits = result(found)
        for hit in hits:
            print(f"{hit['score']:.3f}  {hit['uri']}")
        (image,) = (each for each in found.content if isinstance(each, ImageContent))
        kept.write_bytes(base64.b64decode(image.data))
        print(f"looked at {hits[0]['id']}: {image.mime_type}, {kept.stat().st_size:,} bytes in {kept}")
        alike = result(await session.call_tool("like", {"point_id": hits[0]["id"], "limit": 3, "show": 0}))
        print("like it:", ", ".join(hit["uri"].rpartition("/")[2] for hit in alike))


def result(answer: Any) -> list[dict[str, Any]]:
    """What a tool found; what it says is wrong ends the program."""
    if answer.is_error:
        raise SystemExit(answer.content[0].text)
    found: list[dict[str, Any]] = answer.structured_content["result"]
    return found


def main() -> None:
    """Read the arguments, and work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question")
    parser.add_argument("--collection", default="demo")
    parser.add_argument("--keep", type=Path, default=Path("looked-at.webp"), help="where the best image is kept")
    given = parser.parse_args()
    asyncio.run(work(given.question, collection=given.collection, kept=given.keep))


if __name__ == "__main__":
    main()
