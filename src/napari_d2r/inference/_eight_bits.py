"""The small AENet in eight-bit integers: calibrated and tested on the stack it will serve.

Only the convolutions change; the last layer, which knows the depth, and the linear base
stay in float32. The ranges of the activations come from slabs of the user's own stack,
and on the same slabs measured slices are left out and predicted both ways. What eight
bits cost is known before a voxel is written, and where it is too much torch goes on.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from napari_d2r.errors import explain
from napari_d2r.inference._judge import leave_one_out
from napari_d2r.inference._openvino import (
    Ranges,
    compile_eight_bits,
    observe_ranges,
    openvino_version,
    save_graph,
)
from napari_d2r.inference._predictors import AxialPredictor, SequencePredictor
from napari_d2r.inference._variants import NotServed, NoVariant
from napari_d2r.jobs import FrozenModel
from napari_d2r.volumes import IntensityRange, Volume, require_finite

MAX_LOSS_DB = 0.05
_NUM_SLABS, _SLAB = 8, (5, 96, 96)
_NUM_SLICES = 4  # that a network of this contract sees at once


@dataclass(frozen=True, slots=True)
class EightBits:
    """A predictor in eight-bit integers, and what is known about it.

    ``loss_db`` is what it loses against torch on left-out measured slices, ``name`` says
    by what it was made, calibration included: equal names write equal bytes.
    """

    predictor: SequencePredictor
    loss_db: float
    name: str


class _Calibration(FrozenModel):
    """What is remembered of a stack and a model, in a file of about a kilobyte."""

    ranges: Ranges
    loss_db: float


class EightBitNetwork(nn.Module):
    """A network whose ``encode`` runs elsewhere; its ``decode`` stays as it is."""

    def __init__(self, network: nn.Module, encode: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self._encode = network, encode
        self.is_symmetric = getattr(network, "is_symmetric", False)
        self.lateral_stride, self.lateral_halo = network.lateral_stride, network.lateral_halo

    def forward(self, slices: Tensor, depths: Tensor, log2_gap: Tensor) -> Tensor:
        """As that of the network it stands for."""
        padded = _padded(slices, int(self.lateral_stride))  # type: ignore[arg-type]
        found: Tensor = self.network.decode(self._encode(padded), slices, depths, log2_gap)  # type: ignore[operator]
        return found


class _Encoder(nn.Module):
    """The part of a network that does not know the depth, as a network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, slices: Tensor) -> Tensor:
        found: Tensor = self.network.encode(slices)  # type: ignore[operator]
        return found


def in_eight_bits(
    full: AxialPredictor,
    slabs: Callable[[], Sequence[Tensor]],
    gap: float,
    *,
    weights_sha256: str,
    cache: Path,
) -> EightBits:
    """Quantise, calibrate and test a predictor; what was found is kept for the next time.

    Parameters
    ----------
    full
        The predictor in float32.
    slabs
        Gives (J, H, W) pieces of the stack in unit intensity, such as `sample_slabs`; called
        where they are needed.
    gap
        Lateral voxels from measured slice to measured slice.
    weights_sha256
        Of the model.
    cache
        A folder for the graph of the model and the calibrations.

    Raises
    ------
    NotServed
        Where the extra, the network or the device does not allow it.
    InputError
        Where the stack cannot be read, or holds NaN or infinite voxels.
    NoVariant
        Where it loses more than `MAX_LOSS_DB`, or fails.
    """
    sequence, library = _require_support(full)
    pieces = slabs()
    try:
        return _prepare(sequence, pieces, gap, weights_sha256, cache, library)
    except NoVariant:
        raise
    except Exception as error:  # whatever it is, torch can do the same work
        raise NoVariant(
            f"Eight-bit arithmetic could not be prepared, so the model runs in full precision: "
            f"{explain(error)}"
        ) from error


def sample_slabs(volume: Volume, intensity: IntensityRange) -> list[Tensor]:
    """Eight slabs of at most 5 x 96 x 96 voxels, spread over the volume, in unit intensity.

    Raises
    ------
    InputError
        When they hold NaN or infinite voxels.
    """
    return [_slab_at(volume, intensity, place) for place in _spread(_NUM_SLABS)]


def _require_support(predictor: AxialPredictor) -> tuple[SequencePredictor, str]:
    """The predictor of a network that can be split, and the version of the library."""
    if not isinstance(predictor, SequencePredictor) or not hasattr(predictor.network, "encode"):
        raise NotServed(
            "Eight-bit arithmetic serves the small AENet only; choose such a model, or the engine "
            "torch."
        )
    on = {parameter.device.type for parameter in predictor.network.parameters()}
    if on != {"cpu"} or platform.machine().lower() not in {"x86_64", "amd64"}:
        raise NotServed(
            "Eight-bit arithmetic was measured on x86 processors only; choose the device cpu "
            "there, or the engine torch."
        )
    try:
        return predictor, openvino_version()
    except PackageNotFoundError as error:
        raise NotServed(
            "Eight-bit arithmetic needs OpenVINO, which is not installed: "
            'pip install "napari-d2r[fast]".'
        ) from error


def _prepare(
    full: SequencePredictor,
    slabs: Sequence[Tensor],
    gap: float,
    weights_sha256: str,
    cache: Path,
    library: str,
) -> EightBits:
    stride, threads = full.halo.stride, torch.get_num_threads()
    made_by = f"{library}-{version('napari-d2r')}"
    cache.mkdir(parents=True, exist_ok=True)
    graph = cache / f"{weights_sha256[:16]}-{made_by}.xml"
    if not graph.is_file():
        _save_graph(_Encoder(full.network), stride, graph)

    def predictor(ranges: Ranges) -> SequencePredictor:
        network = EightBitNetwork(full.network, compile_eight_bits(graph, ranges, threads))
        fast = SequencePredictor(network)
        fast.halo = full.halo
        return fast

    key = _key(graph.stem, gap, slabs)
    remembered = cache / f"{key}.json"
    known = _recall(remembered)
    if known is None:
        batches = (_padded(quadruples, stride) for quadruples in map(_quadruples, slabs))
        ranges = observe_ranges(graph, batches, threads)
        fast = predictor(ranges)
        known = _Calibration(ranges=ranges, loss_db=_loss_db(fast, full, slabs, gap))
        _replace(remembered, known.model_dump_json())
    else:
        fast = predictor(known.ranges)
    if not known.loss_db <= MAX_LOSS_DB:
        raise NoVariant(
            f"Eight-bit arithmetic would lose {known.loss_db:.2f} dB on this stack, so the model "
            "runs in full precision."
        )
    return EightBits(
        fast, known.loss_db, f"OpenVINO {library} in eight bits (calibration {key[:8]})"
    )


def _loss_db(
    fast: SequencePredictor, full: SequencePredictor, slabs: Sequence[Tensor], gap: float
) -> float:
    """By how much the squared error on left-out measured slices grows."""
    can_tell = [slab for slab in slabs if len(slab) >= 3]
    errors = [
        sum(sum(leave_one_out(predictor, slab, gap).mse) for slab in can_tell)
        for predictor in (fast, full)
    ]
    if not errors[1] > 0:
        raise NoVariant(
            "What eight-bit arithmetic costs cannot be told on this stack, so the model runs in "
            "full precision."
        )
    return 10 * math.log10(errors[0] / errors[1])


def _quadruples(slab: Tensor) -> Tensor:
    """(J - 1, 4, H, W): what the network sees of each gap of a slab (J, H, W)."""
    first = torch.arange(len(slab) - 1)[:, None]
    return slab[(first + torch.arange(-1, _NUM_SLICES - 1)).clamp(0, len(slab) - 1)]


def _padded(slices: Tensor, stride: int) -> Tensor:
    """(B, S, H, W) continued by its last row and column to multiples of the stride."""
    height, width = slices.shape[-2:]
    return F.pad(slices, (0, -width % stride, 0, -height % stride), "replicate")


def _spread(count: int) -> Iterator[tuple[float, float, float]]:
    """Places in the unit cube: even along z, and by two irrational steps along y and x."""
    for k in range(count):
        yield (k + 0.5) / count, 0.7549 * k % 1, 0.5698 * k % 1


def _slab_at(volume: Volume, intensity: IntensityRange, place: Sequence[float]) -> Tensor:
    """The slab at a place that is given as a share of each axis."""
    box = []
    for share, length, most in zip(place, volume.shape, _SLAB, strict=True):
        size = min(length, most)
        start = round(share * (length - size))
        box.append(slice(start, start + size))
    stored = volume.read(*box)
    require_finite(stored, volume.name)
    return torch.from_numpy(intensity.to_unit(stored))


def _key(graph: str, gap: float, slabs: Sequence[Tensor]) -> str:
    """Of a model, the versions, a gap and the pixels that calibrate."""
    digest = hashlib.blake2b(f"{graph} {gap:g} {_SLAB}".encode(), digest_size=16)
    for slab in slabs:
        digest.update(np.ascontiguousarray(slab.numpy()).tobytes())
    return digest.hexdigest()


def _recall(path: Path) -> _Calibration | None:
    try:
        return _Calibration.model_validate_json(path.read_text("utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, ValidationError):
        return None


def _save_graph(encoder: nn.Module, stride: int, path: Path) -> None:
    """Whole or not at all: the .xml, which is looked for, comes last."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        scratch = Path(folder) / path.name
        save_graph(encoder, _NUM_SLICES, stride, scratch)
        for suffix in (".bin", ".xml"):
            scratch.with_suffix(suffix).replace(path.with_suffix(suffix))


def _replace(path: Path, text: str) -> None:
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    scratch.write_text(text, "utf-8")
    scratch.replace(path)
