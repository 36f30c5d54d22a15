"""Whatever a decoder raises is one refused image: typed, logged once where it is new, and without the file's bytes."""

import logging

import pytest

from connector.errors import UnreadableImage
from connector.images.faults import one_image


class Panic(BaseException):
    """What a plug-in written in Rust raises: no Exception."""


def refused(error: BaseException, *, data: bytes = b"") -> UnreadableImage:
    with pytest.raises(UnreadableImage) as found, one_image("png", data):
        raise error
    assert found.value.__cause__ is error
    return found.value


@pytest.mark.parametrize(
    "error",
    [
        Panic("at row 7"),
        MemoryError(),
        SystemError("returned NULL"),
        RecursionError("deep"),
        BufferError(),
        Exception(),
    ],
    ids=repr,
)
def test_what_was_never_seen_is_a_decoder_error(error: BaseException) -> None:
    assert refused(error).reason == "decoder_error"


@pytest.mark.parametrize("error", [OSError("bad"), ValueError(), ZeroDivisionError(), KeyError(7)], ids=repr)
def test_what_broken_files_raise_is_corrupt(error: BaseException) -> None:
    assert refused(error).reason == "corrupt"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_passes(error: type[BaseException]) -> None:
    with pytest.raises(error), one_image("png", b""):
        raise error


def test_a_decoder_error_is_logged_once_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    class New(BaseException):
        """Never seen in this process."""

    with caplog.at_level(logging.ERROR, logger="connector.images.faults"):
        for _ in range(3):
            refused(New("x"))
    (record,) = [each for each in caplog.records if "error=New" in each.getMessage()]
    assert record.exc_info is not None


@pytest.mark.parametrize(
    "said",
    ["chunk b'\\x00\\xffsecret' is bad", 'tag "secret" is bad', "text 'sec\\'ret' is bad", "\x1b[2Jis bad\n\r\0\x9b"],
)
def test_a_detail_holds_neither_bytes_of_the_file_nor_control_characters(said: str) -> None:
    detail = str(refused(OSError(said)))
    assert "sec" not in detail
    assert "is bad" in detail
    assert detail.isprintable()
    assert detail.isascii()


def test_an_error_that_quotes_its_data_is_named_only() -> None:
    assert str(refused(UnicodeDecodeError("ascii", b"secret\xff", 6, 7, "ordinal"))).endswith("UnicodeDecodeError")
    assert len(str(refused(OSError("long " * 1000)))) < 400
