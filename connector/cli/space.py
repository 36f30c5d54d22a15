"""``polyglance space``: look at embedding spaces and their models, fetch, check and convert them."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli import options
from connector.cli.output import say, say_json
from connector.errors import ConfigError, ModelError
from connector.printable import printable

if TYPE_CHECKING:
    from connector.models.declaration import ImageSpec, Space, TextSpec

app = typer.Typer(
    help="Look at embedding spaces and their models: list, show, check, fetch and convert them.",
    no_args_is_help=True,
    add_completion=False,
)
Name = Annotated[str, typer.Argument(help="A space by its name, or a file ./x.toml that declares one.")]
Towers = Annotated[
    list[str] | None, typer.Option("--tower", help="Only this tower: image, or the name of a text tower. Repeatable.")
]
SHOWN = 8
"""Values of a vector that a probe holds."""


@app.command(name="list")
def list_(as_json: options.AsJson = False) -> None:
    """List the spaces that polyglance brings: dimensions, languages, licence, and whether their models are here.

    polyglance space list
    """
    from connector.models.catalog import find_space, space_names

    rows = [_summary(find_space(name)) for name in space_names()]
    if as_json:
        say_json({"spaces": rows})
        return
    for row in rows:
        here = "here" if row["present"] else "to fetch"
        say(f"{row['name']:28} {row['dims']:>5} dims  {row['size']:>3} px  {here:8}  {row['licence']}")
        say(f"{'':28} {row['languages']}; {row['about']}")


@app.command()
def show(name: Name, as_json: options.AsJson = False) -> None:
    """Show a space's declaration, every key of it: what a file of your own looks like.

    polyglance space show mini
    """
    from connector.models.catalog import SPACES, find_space

    space = find_space(name)
    if as_json:
        say_json(space.model_dump(mode="json"))
        return
    file = Path(name).expanduser() if name.endswith(".toml") else SPACES / f"{name}.toml"
    say(f"# {space.name}.toml: what is not said is as docs/spaces.md says")
    say(file.read_text(encoding="utf-8").rstrip())


@app.command()
def check(name: Name, tower: Towers = None, as_json: options.AsJson = False) -> None:
    """Load the towers that are on this machine, compare them with the declaration, and print what a probe holds.

    polyglance space check mini
    """
    from connector.models.catalog import find_space

    rows = list(_checked(find_space(name), name, tower=tower))
    if as_json:
        say_json({"towers": rows})
    for row in () if as_json else rows:
        say(f"{row['tower']:20} {row['outcome']:8} {printable(row['detail'])}")
        if row["probe"]:
            say(f"{'':20} probe    [{', '.join(f'{value:.5f}' for value in row['probe'])}]")
    if any(row["outcome"] in ("damaged", "unverified") for row in rows):
        raise typer.Exit(1)


@app.command()
def pull(
    name: Name,
    tower: Towers = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licence, where it allows no commercial use.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Fetch a space's models, so that no network is needed afterwards; a pickle is made into safetensors.

    polyglance space pull clip-vit-b-32 --tower image --tower multilingual
    """
    from connector.models.catalog import find_space
    from connector.models.licences import accept, is_accepted
    from connector.models.pull import pull as fetch

    space = find_space(name)
    if not as_json:
        say(f"{space.name}: {space.licence}", err=True)
    if not is_accepted(space):
        if not accept_licence:
            _ask(space)
        accept(space)
    found = {each: fetch(spec) for each, spec in _towers(space, tower).items()}
    if as_json:
        say_json({"towers": [{"tower": each, **asdict(told)} for each, told in found.items()]})
        return
    for each, told in found.items():
        how = ", made of a pickle" if told.converted else "" if told.fetched else ", was here"
        say(f"{each:20} {told.model} at {told.revision or 'a folder'}{how}")


@app.command()
def convert(
    folder: Annotated[Path, typer.Argument(help="A model's folder whose weights are a pickle (*.bin).")],
    as_json: options.AsJson = False,
) -> None:
    """Make safetensors of a model's pickled weights, without running any code that they may hold.

    polyglance space convert ./models/XLM-Roberta-Large-Vit-B-32
    """
    from connector.models.conversion import convert as made_of

    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder.")
    made = [str(file) for file in made_of(folder)]
    if as_json:
        say_json({"made": made})
        return
    for file in made:
        say(printable(file))
    if not made:
        say(f"{folder} has no pickle that lacks its safetensors.", err=True)


def _summary(space: "Space") -> dict[str, Any]:
    from connector.models.lookup import is_present

    towers = _towers(space, None)
    return {
        "name": space.name,
        "dims": space.dims,
        "size": space.image_size,
        "languages": space.languages,
        "licence": space.licence,
        "commercial": space.commercial,
        "about": space.about,
        "towers": {name: {"model": spec.model, "present": is_present(spec)} for name, spec in towers.items()},
        "present": is_present(space.image) and any(map(is_present, space.text.values())),
    }


def _towers(space: "Space", names: list[str] | None) -> "Mapping[str, ImageSpec | TextSpec]":
    """The towers of these names, by default all. Raises ConfigError for one that the space does not have."""
    known: dict[str, ImageSpec | TextSpec] = {"image": space.image, **space.text}
    for name in names or ():
        if name not in known:
            raise ConfigError(f"space {space.name} has no tower {name!r}; it has: {', '.join(known)}.")
    return {name: spec for name, spec in known.items() if names is None or name in names}


def _checked(space: "Space", name: str, *, tower: list[str] | None) -> Iterator[dict[str, Any]]:
    from connector.models.lookup import find_model, is_present
    from connector.models.pull import check_noted

    for each, spec in _towers(space, tower).items():
        if not is_present(spec):
            yield {
                "tower": each,
                "outcome": "missing",
                "detail": f"{spec.model} is not here, or not whole",
                "probe": [],
            }
            continue
        try:
            check_noted(spec, folder=find_model(spec))
            detail, probe = _loaded(space, name, tower=each)
        except ModelError as error:
            yield {"tower": each, "outcome": "damaged", "detail": str(error), "probe": []}
            continue
        yield {"tower": each, "outcome": "sound", "detail": f"{spec.model}: {detail}", "probe": probe}
    if space.unverified is not None and tower is None:
        yield _verified(space, name)


def _verified(space: "Space", name: str) -> dict[str, Any]:
    """Whether a space that nobody could verify finds what it reads; where it does, it is refused no more."""
    from connector.models.image_tower import ImageTower
    from connector.models.text_tower import TextTower
    from connector.models.verification import CARDS, draw_cards, verify
    from connector.settings import ModelSettings

    settings, declared = ModelSettings(space=name, precision="float32"), _trusted(space)
    row: dict[str, Any] = {"tower": "declaration", "probe": []}
    try:
        image = ImageTower.load(settings, declared=declared)
        text = TextTower.load(settings, tower=next(iter(space.text)), declared=declared)
        verify(space, cards=image.embed(draw_cards(space.image_size)), captions=text.embed(CARDS))
    except ModelError as error:
        return {**row, "outcome": "unverified", "detail": str(error)}
    return {**row, "outcome": "sound", "detail": "both towers load as declared, and find what they read"}


def _trusted(space: "Space") -> "Space":
    """A declaration that is to be checked, as one that was."""
    return space.model_copy(update={"unverified": None})


def _loaded(space: "Space", name: str, *, tower: str) -> tuple[str, list[float]]:
    """A tower loaded, which compares it with its declaration: how it runs, and the first values of its probe."""
    from connector.settings import ModelSettings

    if tower != "image":
        from connector.models.text_tower import TextTower

        text = TextTower.load(ModelSettings(space=name), tower=tower, declared=_trusted(space))
        vector = text.embed([space.probe.text])[0]
        return f"{text.runtime} {text.kernel}", [float(value) for value in vector[:SHOWN]]
    from connector.models.image_tower import ImageTower, canonical_pixels
    from connector.models.score import score_bias, score_scale

    settings = ModelSettings(space=name, precision="float32")
    image = ImageTower.load(settings, declared=_trusted(space))
    vector = image.embed(canonical_pixels(space.image_size))[0]
    meaning = f"{space.score.kind}({score_scale(settings):.1f} * cosine{score_bias(settings) or 0:+.1f})"
    return f"{image.device} {image.precision}, {meaning}", [float(value) for value in vector[:SHOWN]]


def _ask(space: "Space") -> None:
    """Ask for the licence once, on a terminal. Raises ConfigError where nobody can answer, or the answer is no."""
    from connector.models.licences import check_licence

    question = f"{space.licence} allows no commercial use. Do you accept it?"
    if not (sys.stdin.isatty() and typer.confirm(question)):
        check_licence(space)
