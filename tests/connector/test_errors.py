"""The tree of errors: as it is drawn, across the border of a process, and on its ways out."""

import inspect
import pickle
import re
from collections.abc import Iterator

import pytest

import polyglance
from connector import errors
from connector.errors import ConfigError, InvalidQuery, PolyglanceError
from connector.service.problems import STATUSES, status_of
from workers.cli import commands


def classes(kind: type[PolyglanceError] = PolyglanceError) -> Iterator[type[PolyglanceError]]:
    """Every kind of error, from the root down."""
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from classes(below)


def an_error(kind: type[PolyglanceError]) -> PolyglanceError:
    """An error of this kind, with whatever it takes."""
    given = {"reason": "corrupt", "retry_after": 2.5, "position": 3, "stage": "embed", "working": True}
    taken = inspect.signature(kind.__init__).parameters
    return kind("what is wrong", **{name: value for name, value in given.items() if name in taken})


def test_the_tree_is_drawn_as_it_is() -> None:
    drawing = (errors.__doc__ or "").partition("PolyglanceError")[2]
    parents: list[tuple[int, str]] = [(-1, "PolyglanceError")]
    drawn = {}
    for branch, name in re.findall(r"^    ([│├└─ ]+)(\w+)", drawing, re.MULTILINE):
        while parents[-1][0] >= len(branch):
            parents.pop()
        drawn[name] = parents[-1][1]
        parents.append((len(branch), name))

    assert drawn == {kind.__name__: kind.__base__.__name__ for kind in classes() if kind is not PolyglanceError}  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [*classes()])
def test_an_error_crosses_the_border_of_a_process_as_it_is(kind: type[PolyglanceError]) -> None:
    error = an_error(kind)

    there = pickle.loads(pickle.dumps(error))

    assert type(there) is kind
    assert (there.args, vars(there), there.retryable) == (error.args, vars(error), error.retryable)


@pytest.mark.parametrize("kind", [kind for kind in classes() if kind is not PolyglanceError])
def test_an_error_has_a_status_of_its_own(kind: type[PolyglanceError]) -> None:
    status, code = status_of(an_error(kind))

    assert code != "internal"
    assert 400 <= status < 600
    assert any(issubclass(kind, known) for known in STATUSES)


@pytest.mark.parametrize("kind", [*classes()])
def test_an_error_ends_the_command_line_in_a_line_and_a_code(
    kind: type[PolyglanceError], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**_: object) -> None:
        raise an_error(kind)

    monkeypatch.setattr(commands, "app", fails)
    with pytest.raises(SystemExit) as left:
        polyglance.main([])

    assert left.value.code == (2 if issubclass(kind, ConfigError | InvalidQuery) else 1)
    assert capsys.readouterr().err == "polyglance: what is wrong\n"
