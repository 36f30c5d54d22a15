"""What the tests of other tools share: the bundled images, open to be asked."""

from collections.abc import Iterator

import pytest

from connector import ImageSearch, Settings


@pytest.fixture(scope="module")
def search(noto: Settings) -> Iterator[ImageSearch]:
    with ImageSearch.open(settings=noto) as opened:
        yield opened
