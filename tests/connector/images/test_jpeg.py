"""JPEGs by simplejpeg and by Pillow: the same pixels, and the same refusals for the same reasons."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL.JpegImagePlugin import JpegImageFile

from connector.images.jpeg import decode_smaller, quick_decoder
from tests import jpegs
from tests.corpus_files import saved, scene

pytestmark = pytest.mark.skipif(
    quick_decoder() is None, reason="needs the extra speed: pip install 'polyglance[speed]'"
)


@pytest.mark.slow
def test_every_jpeg_has_the_same_outcome_with_and_without_simplejpeg() -> None:
    without = [sys.executable, "-m", "tests.jpegs", "--without-simplejpeg"]
    child = subprocess.run(without, capture_output=True, text=True, check=True)

    ours, theirs = jpegs.outcomes(), json.loads(child.stdout)

    assert {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]} == {}
    refused = [outcome for outcome in ours.values() if isinstance(outcome, str)]
    assert jpegs.MUTANTS // 4 < len(refused) < len(ours) - jpegs.MUTANTS // 4


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_simplejpeg_decodes_what_it_can(mode: str, channels: int) -> None:
    data = saved(scene(501, 333).convert(mode), "JPEG")

    plane = decode_smaller(JpegImageFile(io.BytesIO(data)), data=data, size=64)

    assert isinstance(plane, np.ndarray)
    assert plane.shape == (167, 251, channels)


@pytest.mark.parametrize("shape", [(128, 128), (255, 600), (257, 300), (512, 513), (1023, 2000), (1025, 1025)], ids=str)
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_is_never_decoded_below_twice_the_size(shape: tuple[int, int], progressive: bool) -> None:
    data = saved(scene(*shape), "JPEG", progressive=progressive)

    plane = decode_smaller(JpegImageFile(io.BytesIO(data)), data=data, size=64)

    assert isinstance(plane, np.ndarray)
    assert min(plane.shape[:2]) >= 128
    assert min(plane.shape[:2]) <= 256 or min(shape) < 256


def test_without_simplejpeg_pillow_decodes() -> None:
    code = """
import io, sys
sys.modules["simplejpeg"] = None
from PIL.JpegImagePlugin import JpegImageFile
from connector.images.jpeg import decode_smaller
data = sys.stdin.buffer.read()
print(type(decode_smaller(JpegImageFile(io.BytesIO(data)), data=data, size=64)).__name__)
"""
    data = saved(scene(300, 200), "JPEG")

    child = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)

    assert child.stdout.strip() == b"JpegImageFile"
