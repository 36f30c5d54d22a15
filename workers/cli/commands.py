"""The command line of both packages: every command by its name, and the module that is imported once it is called.

The rule: ``polyglance --help`` and a command import no other command's module. The lines of the help stand here; a test
holds that they are the first lines of the commands' own.
"""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Any, Literal, TextIO

import typer
import typer.core
import typer.main

from connector.config_files import choosing
from connector.process import Logs

INGEST, RUNS, PLACES = "workers.cli.ingest", "workers.cli.runs", "workers.cli.places"
COMMANDS: Mapping[str, tuple[str, str]] = {
    "settings": (
        "workers.cli.settings",
        "Show every setting, its value and where the value comes from; keys and passwords are masked.",
    ),
    "ingest": (INGEST, "Read images, embed them and store them; what is stored already and unchanged is skipped."),
    "demo": (
        INGEST,
        "Ingest the bundled images, ask about them in a dozen languages, and write a page of the answers.",
    ),
    "tune": (
        "workers.cli.tune",
        "Measure reading, decoding, embedding and storing on this machine; propose settings; predict time and cost.",
    ),
    "plan": (
        "workers.cli.plan",
        "Say what memory, disk, shards, nodes and GPU hours so many images need; docs/planning.md has the formulas.",
    ),
    "status": (
        RUNS,
        "Show the last run of every source: how far it is, how fast, what it rejected and which stage it waits for.",
    ),
    "rejected": (RUNS, "List the images that the last run of each source could not ingest, and why."),
    "retry": (
        RUNS,
        "Try the rejected images again, and no others: after a repair, or when what stood in the way has passed.",
    ),
    "prune": (
        "workers.cli.prune",
        "Remove the points whose image is gone from a source. A terminal shows them and asks; a script says --yes.",
    ),
    "relocate": (
        PLACES,
        "Follow a place that moved, or whose images were renamed: the points go along, and nothing is embedded again.",
    ),
    "forget": (
        PLACES,
        "Let a place leave the collection: its points go, but those that another place lists too. No image is touched.",
    ),
    "check": (
        "workers.cli.check",
        "Check a collection: its files, points and runs, and a share of its images. Exit code 1 where it is damaged.",
    ),
    "duplicates": (
        "workers.cli.duplicates",
        "Find images that are there more than once: the same bytes, the same image, the same moment, and look-alikes.",
    ),
    "alert": (
        "workers.cli.alert",
        "Questions that stay asked: hear of every new image that fits one.",
    ),
    "ocr": (
        "workers.cli.ocr",
        "Read the text in images that are stored already, so that they are found by it; no image is embedded again.",
    ),
    "teach": (
        "workers.cli.teach",
        "Teach a space's text tower a language from parallel lines; a space of its own is written, with a report.",
    ),
    "migrate": (
        "workers.cli.migrate",
        "Bring a collection to another embedding space while it goes on answering.",
    ),
    "watch": (
        "workers.cli.watch",
        "Bring a place in, then keep the collection in step with it until SIGTERM or Ctrl-C.",
    ),
    "search": (
        "connector.cli.search",
        "Find images by text in any language, by an image, or by a weighted query of these.",
    ),
    "serve": (
        "workers.cli.serve",
        "Serve the gallery and the REST interface on http://127.0.0.1:8000; Ctrl-C ends it.",
    ),
    "evaluate": (
        "connector.cli.evaluate",
        "Measure the answers on your own captions: recall@1, @5, @10 and MRR, by language: seen, words, both.",
    ),
    "classify": (
        "connector.cli.classify",
        "Say which label fits each image best, without any training; --json prints an object a line.",
    ),
    "export": (
        "connector.cli.export",
        "Write a collection, or the images that answer a question, to a Parquet file: vectors and all that is known.",
    ),
    "mcp": (
        "connector.cli.mcp",
        "Serve search, like, classify and facets to an agent, over standard input and output (Model Context Protocol).",
    ),
    "collection": (
        "connector.cli.collection",
        "Look at a collection, make, name, back up, move or delete it.",
    ),
    "space": (
        "connector.cli.space",
        "Look at embedding spaces and their models: list, show, check, fetch and convert them.",
    ),
}
"""By name: the module that holds the command in its ``app``, and the command's line in the help."""


def markup_on(stream: TextIO) -> Literal["rich"] | None:
    """How help and wrong calls are written there: in boxes, or in lines that nothing wraps.

    Boxes are for a terminal of 80 columns and more: in narrower ones they cut the names of options.
    """
    return "rich" if stream.isatty() and get_terminal_size().columns >= 80 else None


class LazyCommands(Mapping[str, Any]):
    """The commands by name; one that is taken out is imported then."""

    def __getitem__(self, name: str) -> Any:
        module, _ = COMMANDS[name]
        found = typer.main.get_command(import_module(module).app)
        if name in ("alert", "collection", "migrate", "space"):  # groups of their own, called by their modules' names
            found.name = name
        elif isinstance(found, typer.core.TyperGroup):
            found = found.commands[name]
        for each in (found, *getattr(found, "commands", {}).values()):
            each.rich_markup_mode = markup_on(sys.stdout)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Front(typer.core.TyperGroup):
    """The group of all commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": LazyCommands(), "rich_markup_mode": markup_on(sys.stderr)})

    def invoke(self, ctx: Any) -> Any:
        """Call the command; with ``--json`` whatever goes wrong is JSON on standard output as well."""
        if "--json" not in ctx.args:
            return super().invoke(ctx)
        from connector.cli.output import errors_as_json

        with errors_as_json():
            return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """List the commands by their lines in ``COMMANDS``."""
        loaded, self.commands = self.commands, {
            name: typer.core.TyperCommand(name, help=line, short_help=line) for name, (_, line) in COMMANDS.items()
        }  # fmt: skip
        on_errors, self.rich_markup_mode = self.rich_markup_mode, markup_on(sys.stdout)
        try:
            super().format_help(ctx, formatter)
        finally:
            self.commands, self.rich_markup_mode = loaded, on_errors


def show_version(wanted: bool) -> None:
    """Print the version and end, where it was asked for."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"polyglance {version('polyglance')}")
        raise typer.Exit


app = typer.Typer(
    cls=Front,
    help="Search your own images in any language.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "terminal_width": sys.maxsize},  # a terminal's is rich's
)


@app.callback()
def front(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Read settings from this file and no other.")
    ] = None,
    trust_config: Annotated[
        bool, typer.Option("--trust-config", help="Let polyglance.toml in the working folder name where keys are sent.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens, to standard error.")] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log as JSON, an object a line.")] = False,
    version: Annotated[  # noqa: ARG001  (its callback has done all)
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Search your own images in any language."""
    Logs(logging.INFO if verbose else logging.WARNING, as_json=log_json).set_up()
    context.with_resource(choosing(config=config, trusted=trust_config))


def files_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with those on settings files, which every command takes, in front of the command."""
    first, rest = [], [*arguments]
    end = rest.index("--") if "--" in rest else len(rest)
    at = 0
    while at < end:
        length = 2 if rest[at] == "--config" else 1
        if rest[at] in ("--config", "--trust-config") or rest[at].startswith("--config="):
            first += rest[at : at + length]
            del rest[at : at + length]
            end -= length
        else:
            at += 1
    return [*first, *rest]
