"""Eight-bit integers must cost next to nothing, tell nobody, and step aside where they fail."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_d2r.checkpoints import Model, bundled_model, load_model
from napari_d2r.errors import InputError
from napari_d2r.inference import (
    EightBits,
    GapRequest,
    LateralPredictor,
    NotServed,
    NoVariant,
    SequencePredictor,
    _eight_bits,
    in_eight_bits,
    log2_of,
    sample_slabs,
)
from napari_d2r.models import LateralNet, LateralNetConfig
from napari_d2r.volumes import IntensityRange, Volume, VoxelSize

GAP = 4.0
GREY_LEVEL = 1 / 255
needs_extra = pytest.mark.skipif(
    find_spec("openvino") is None, reason='eight bits need the extra: pip install ".[fast]"'
)


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(bundled_model("student"))


@pytest.fixture(scope="module")
def full(model: Model) -> SequencePredictor:
    return SequencePredictor(model.network, model.card.halo)


@pytest.fixture(scope="module")
def slabs(stack: Volume) -> list[Tensor]:
    return sample_slabs(stack, IntensityRange.of(stack))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("eight-bits")


def prepared(full: SequencePredictor, slabs: list[Tensor], cache: Path) -> EightBits:
    return in_eight_bits(full, lambda: slabs, GAP, weights_sha256="0" * 64, cache=cache)


@pytest.fixture(scope="module")
def fast(full: SequencePredictor, slabs: list[Tensor], cache: Path) -> EightBits:
    return prepared(full, slabs, cache)


def request(num_gaps: int) -> GapRequest:
    return GapRequest(0, torch.tensor([[0.25, 0.5, 0.75]]).expand(num_gaps, -1), log2_of(GAP))


@needs_extra
def test_what_it_predicts_is_within_a_grey_level_of_torch(
    fast: EightBits, full: SequencePredictor, stack: Volume
) -> None:
    slab = torch.from_numpy(IntensityRange.of(stack).to_unit(stack.read()))[:, :50, :33]
    error = fast.predictor.predict(slab, request(8)) - full.predict(slab, request(8))
    rms = float(error.square().mean().sqrt())
    assert 0.01 * GREY_LEVEL < rms < GREY_LEVEL  # and it is not torch that ran
    assert abs(float(error.mean())) < 0.1 * GREY_LEVEL
    assert fast.loss_db < 0.05


@needs_extra
def test_turning_the_stack_over_turns_the_result_over(fast: EightBits, slabs: list[Tensor]) -> None:
    gaps = request(len(slabs[0]) - 1)
    upright = fast.predictor.predict(slabs[0], gaps)
    mirrored = fast.predictor.predict(slabs[0].flip(0), gaps)
    torch.testing.assert_close(mirrored.flip(0, 1), upright, atol=1e-5, rtol=0)


@needs_extra
def test_threads_do_not_disturb_each_other(fast: EightBits, slabs: list[Tensor]) -> None:
    def predict(slab: Tensor) -> Tensor:
        return fast.predictor.predict(slab, request(len(slab) - 1))

    alone = [predict(slab) for slab in slabs]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(pool.map(predict, slabs), alone, strict=True):
            assert torch.equal(one, other)


@needs_extra
def test_a_stack_is_calibrated_once(
    fast: EightBits,
    full: SequencePredictor,
    slabs: list[Tensor],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Path] = []

    def observe(path: Path, *rest: object) -> dict[str, tuple[float, float]]:
        seen.append(path)
        return real(path, *rest)

    real = _eight_bits.observe_ranges
    monkeypatch.setattr(_eight_bits, "observe_ranges", observe)
    again = prepared(full, slabs, cache)
    assert (again.name, again.loss_db, seen) == (fast.name, fast.loss_db, [])
    gaps = request(4)
    assert torch.equal(
        again.predictor.predict(slabs[0], gaps), fast.predictor.predict(slabs[0], gaps)
    )

    other = prepared(full, [slab * 0.9 for slab in slabs], cache)
    assert other.name != fast.name
    assert len(seen) == 1


@needs_extra
def test_a_damaged_calibration_is_made_again(
    full: SequencePredictor, slabs: list[Tensor], fast: EightBits, cache: Path
) -> None:
    for path in cache.glob("*.json"):
        path.write_text("{", "utf-8")
    assert prepared(full, slabs, cache).name == fast.name


@needs_extra
def test_too_large_a_loss_is_refused_in_words(
    full: SequencePredictor,
    slabs: list[Tensor],
    cache: Path,
    fast: EightBits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_eight_bits, "MAX_LOSS_DB", -10.0)
    with pytest.raises(NoVariant, match=r"would lose .* dB on this stack"):
        prepared(full, slabs, cache)


@needs_extra
def test_two_slices_cannot_tell_what_it_costs(
    full: SequencePredictor, slabs: list[Tensor], cache: Path
) -> None:
    with pytest.raises(NoVariant, match="cannot be told"):
        prepared(full, [slab[:2] for slab in slabs], cache)


@needs_extra
def test_whatever_fails_is_told_in_words(
    full: SequencePredictor,
    slabs: list[Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(_eight_bits, "save_graph", fail)
    with pytest.raises(NoVariant, match=r"could not be prepared.*no such kernel"):
        prepared(full, slabs, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_extra_may_be_missing(
    full: SequencePredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        raise PackageNotFoundError

    monkeypatch.setattr(_eight_bits, "openvino_version", missing)
    with pytest.raises(NotServed, match=r"napari-d2r\[fast\]"):
        prepared(full, [], tmp_path)


def test_other_networks_are_not_served(tmp_path: Path) -> None:
    other = LateralPredictor(LateralNet(LateralNetConfig(widths=(8, 8), blocks=(1, 1))))
    with pytest.raises(NotServed, match="small AENet"):
        in_eight_bits(other, list, GAP, weights_sha256="", cache=tmp_path)


def test_slabs_lie_within_the_volume_and_differ(stack: Volume) -> None:
    found = sample_slabs(stack, IntensityRange.of(stack))
    assert {tuple(slab.shape) for slab in found} == {(5, 64, 64)}
    assert len({slab.numpy().tobytes() for slab in found}) > 3  # 9 slices leave 5 places


def test_slabs_with_holes_are_refused() -> None:
    values = np.random.default_rng(0).random((6, 32, 32), np.float32)
    values[2:4] = np.nan
    volume = Volume(values, VoxelSize(40, 10, 10), "holes")
    with pytest.raises(InputError, match="NaN"):
        sample_slabs(volume, IntensityRange(0, 1))


IN_A_FRESH_PROCESS = """
import sys
from pathlib import Path
import torch
from napari_d2r.checkpoints import bundled_model, load_model
from napari_d2r.inference import GapRequest, SequencePredictor, in_eight_bits
torch.manual_seed(0)
full = SequencePredictor(load_model(bundled_model("student")).network)
slab = torch.nn.functional.avg_pool2d(torch.rand(5, 136, 136), 9, 1)
fast = in_eight_bits(full, lambda: [slab], 4.0, weights_sha256="0" * 64, cache=Path(sys.argv[1]))
gaps = GapRequest(0, torch.full((4, 1), 0.5), 2.0)
error = fast.predictor.predict(slab, gaps) - full.predict(slab, gaps)
print(float(error.square().mean().sqrt()), "openvino_telemetry" in sys.modules)
"""


@needs_extra
def test_it_tells_nobody_and_no_sum_overflows_on_a_plain_processor(cache: Path) -> None:
    """OpenVINO reports that it was imported, unless kept from it.

    Without VNNI, products are added in 16 bits, which eight-bit weights would overflow.
    """
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS, str(cache)],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    rms, reports = done.stdout.split()
    assert reports == "False"
    assert float(rms) < GREY_LEVEL


WHILE_MATH_IS_ANOTHER = """
import math
from napari_d2r.inference import _openvino
_openvino._let_numba_read_math()
import numba
kept, math.sqrt = math.sqrt, lambda x: x
assert numba.njit(lambda x: x + 1)(2) == 3
math.sqrt = kept
"""


def test_shapes_may_be_drawn_in_a_viewer_while_a_network_is_traced() -> None:
    """torch.export puts lambdas into `math`, whose names numba does not find when it looks."""
    pytest.importorskip("numba", reason="numba comes with napari")
    subprocess.run([sys.executable, "-c", WHILE_MATH_IS_ANOTHER], check=True, timeout=300)
