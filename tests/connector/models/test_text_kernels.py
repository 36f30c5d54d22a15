"""Which 8-bit form runs: the one that holds on the processor at hand, whatever that processor is."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from connector.models.kernel_choice import Measured
from connector.models.text_export import export
from connector.models.text_kernels import (
    KERNELS,
    LEAST_COSINE,
    Kernel,
    choose,
    load_choice,
    measured,
    open_best,
)
from connector.models.text_models import load_text_model
from connector.models.text_onnx import Encode, ExportedTower, encoder_of, least_cosine
from tests.twins import Twins


@pytest.fixture(scope="module")
def made(tiny_twins: Twins, tmp_path_factory: pytest.TempPathFactory) -> ExportedTower:
    out = tmp_path_factory.mktemp("exported") / "tower"
    return export(load_text_model(tiny_twins.text), folder=tiny_twins.text, out=out)


@pytest.fixture
def exported(made: ExportedTower, tmp_path: Path) -> ExportedTower:
    """A fresh copy that a test may change."""
    folder = Path(shutil.copytree(made.folder, tmp_path / "tower"))
    return replace(made, folder=folder)


def coarse(whole: Path, path: Path) -> None:
    """A form whose vectors are others, as those of sums that overflow: every weight is rounded to a few steps."""
    model = onnx.load(whole)
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.ndim == 2 and value.dtype == np.float32:
            step = np.abs(value).max() / 3
            tensor.CopyFrom(numpy_helper.from_array((np.round(value / step) * step).astype(np.float32), tensor.name))
    onnx.save(model, path)


def same(whole: Path, path: Path) -> None:
    shutil.copy(whole, path)


def broken(whole: Path, path: Path) -> None:
    raise RuntimeError(f"no such operator in {whole.name} for {path.suffix}")


class Scripted:
    """Measures real cosines; the seconds are those of a script, in the order of the calls."""

    def __init__(self, *seconds: float) -> None:
        self._seconds = [*seconds]

    def __call__(self, encode: Encode, exported: ExportedTower) -> Measured:
        return Measured(least_cosine(encode, exported), self._seconds.pop(0))


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_every_form_can_be_made_and_runs_here(exported: ExportedTower, kernel: Kernel) -> None:
    """What its cosine is depends on the processor, and is not asserted: being measured is the point."""
    file = exported.folder / f"{kernel.name}.onnx"
    kernel.make(exported.whole, file)
    encode = encoder_of(exported, file)

    assert encode is not None
    assert encode(exported.probes).shape == exported.expected.shape
    assert -1 <= measured(encode, exported).cosine <= 1 + 1e-6


def test_weights_in_8_bits_with_sums_in_float32_hold_on_any_processor(exported: ExportedTower) -> None:
    found = choose(exported, kernels=[KERNELS[-1]], measure=Scripted(2.0, 1.0))

    assert found is not None
    assert found.kernel == "int8-weights"
    assert least_cosine(found.encode, exported) >= LEAST_COSINE


def test_a_form_that_changes_the_vectors_is_left_for_the_next(
    exported: ExportedTower, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="connector.models.text_kernels")
    kernels = [Kernel("overflowing", coarse), Kernel("missing", broken), Kernel("sound", same), Kernel("unasked", same)]

    found = choose(exported, kernels=kernels, measure=Scripted(2.0, 1.0, 1.0))

    assert found is not None
    assert (found.runtime, found.kernel) == ("onnx", "sound")
    choice = load_choice(exported)
    assert choice is not None
    assert choice.kernel == "sound"
    assert choice.measured["overflowing"].cosine < LEAST_COSINE <= choice.measured["sound"].cosine
    assert {path.stem for path in exported.folder.glob("*.onnx")} == {"float32", "sound"}
    assert caplog.text.count("kernel_chosen kernel=sound") == 1


def test_a_form_that_gains_nothing_is_not_taken(exported: ExportedTower) -> None:
    assert choose(exported, kernels=[Kernel("slow", same)], measure=Scripted(1.0, 1.5)) is None

    choice = load_choice(exported)
    assert choice is not None
    assert choice.kernel == "float32"
    assert choice.measured["slow"].seconds == 1.5


def test_where_no_form_holds_float32_runs(exported: ExportedTower) -> None:
    assert choose(exported, kernels=[Kernel("overflowing", coarse)], measure=Scripted(2.0, 1.0)) is None

    found = open_best(exported, worthwhile=0)
    assert found is not None
    assert found.kernel == "float32"


def test_what_was_chosen_on_another_processor_is_measured_here_and_chosen_anew(exported: ExportedTower) -> None:
    assert choose(exported, kernels=[Kernel("moved", same)], measure=Scripted(2.0, 1.0)) is not None
    first = open_best(exported, worthwhile=0)
    coarse(exported.whole, exported.folder / "moved.onnx")  # as the same file computes on a processor that overflows

    second = open_best(exported, worthwhile=0)

    assert (first and first.kernel, second and second.kernel != "moved") == ("moved", True)
    assert second is not None
    assert least_cosine(second.encode, exported) >= LEAST_COSINE


def test_exact_arithmetic_leaves_8_bits_out(exported: ExportedTower) -> None:
    assert choose(exported, kernels=[Kernel("quick", same)], measure=Scripted(2.0, 1.0)) is not None

    found = open_best(exported, exact=True, worthwhile=0)

    assert found is not None
    assert found.kernel == "float32"


def test_a_graph_that_is_not_torchs_does_not_answer_at_all(
    exported: ExportedTower, caplog: pytest.LogCaptureFixture
) -> None:
    coarse(exported.whole, exported.whole)

    assert open_best(exported, worthwhile=0) is None
    assert choose(exported) is None
    assert "onnx_refused" in caplog.text


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kernel": "int8"}', '{"kernel": "int8", "measured": {"int8": 3}}'])
def test_a_damaged_memory_of_the_choice_counts_as_none(exported: ExportedTower, text: str) -> None:
    (exported.folder / "kernel.json").write_text(text, encoding="utf-8")

    assert load_choice(exported) is None
