"""One stand-in for a Qdrant server for all tests of this folder; each test takes a collection of its own."""

import itertools
from collections.abc import Iterator

import pytest

from tests.hosts import HostProcess
from tests.qdrant_standin.standin import Standin, running

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def shared_standin() -> Iterator[Standin]:
    """A stand-in without keys."""
    with running() as standin:
        yield standin


@pytest.fixture
def standin(shared_standin: Standin) -> Iterator[Standin]:
    """The shared stand-in, without faults before the test and after it."""
    shared_standin.script()
    yield shared_standin
    shared_standin.script()


@pytest.fixture
def collection() -> str:
    """A name that no other test uses."""
    return f"images-{next(_NUMBERS)}"


@pytest.fixture(scope="session")
def hosts() -> Iterator[HostProcess]:
    """Another process, which has embedded collections open."""
    with HostProcess() as process:
        yield process
