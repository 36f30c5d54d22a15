"""Fixtures that more than one part of the suite uses."""

from pathlib import Path

import pytest

from tests.twins import Twins, write_twins


@pytest.fixture(scope="session")
def tiny_twins(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    """Small random-weight models in both published layouts: 224 pixels, 512 dims, a few megabytes."""
    return write_twins(tmp_path_factory.mktemp("twins"))


@pytest.fixture(scope="session")
def mini_twins(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    """The same in the shape of space mini: 64 pixels, 128 dims."""
    return write_twins(tmp_path_factory.mktemp("mini-twins"), size="mini")


@pytest.fixture
def copied_twins(tiny_twins: Twins, tmp_path: Path) -> Twins:
    """A copy of the tiny twins that a test may break."""
    return tiny_twins.copy(tmp_path / "copy")
