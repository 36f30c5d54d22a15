"""Finding a batch and deciding whether compiling pays, with devices that are made of numbers."""

import logging
from dataclasses import dataclass, field

import pytest
import torch

from connector.models.image_batching import compiled_pays, find_batch


@dataclass
class Device:
    """Embeds ``fastest`` images a second once a batch costs more than its start; holds ``room`` at once."""

    fastest: float
    start: float = 0.01
    room: int = 10**6
    tried: list[int] = field(default_factory=list)

    def __call__(self, batch: int) -> float:
        self.tried.append(batch)
        if batch > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.start + batch / self.fastest


def test_the_batch_grows_until_more_is_no_quicker() -> None:
    assert find_batch(Device(fastest=10_000, start=0.0)).batch == 64
    assert find_batch(Device(fastest=10_000, start=0.0005)).batch == 256
    assert find_batch(Device(fastest=40_000, start=0.01)).batch == 1024


def test_the_batch_stays_within_the_memory() -> None:
    device = Device(fastest=40_000, room=300)

    trials = find_batch(device)

    assert trials.batch == 256
    assert list(trials.rates) == [64, 128, 256]
    assert max(device.tried) == 512, "what does not fit is tried once, and nothing larger"


def test_a_small_device_gets_a_small_batch() -> None:
    assert find_batch(Device(fastest=1000, room=20)).batch == 16
    assert find_batch(Device(fastest=1000, room=1)).batch == 1


def test_a_device_without_room_for_one_image_says_so() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        find_batch(Device(fastest=1000, room=0))


def test_a_rate_that_falls_ends_the_search() -> None:
    def slower_and_slower(batch: int) -> float:
        tried.append(batch)
        return (batch / 64) ** 2

    tried: list[int] = []
    assert find_batch(slower_and_slower).batch == 64
    assert max(tried) == 128


def test_compiling_pays_where_it_is_quicker(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    assert compiled_pays(Device(fastest=1000), Device(fastest=1400), batch=256)
    assert not compiled_pays(Device(fastest=1000), Device(fastest=1010), batch=256)

    assert "compile_fallback reason=no quicker" in caplog.text


def test_a_compiler_that_fails_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def no_compiler(batch: int) -> float:
        raise RuntimeError(f"No working C++ compiler found\nfor batch {batch}")

    assert not compiled_pays(Device(fastest=1000), no_compiler, batch=256)
    assert "compile_fallback reason=RuntimeError: No working C++ compiler found" in caplog.text


def test_a_compiled_model_that_does_not_fit_does_not_pay() -> None:
    assert not compiled_pays(Device(fastest=1000), Device(fastest=9000, room=8), batch=256)
