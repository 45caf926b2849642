"""Which result a plan makes: the same digest, the same voxels."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

from napari_d2r.stages._uncertainty import beside, is_of

if TYPE_CHECKING:
    from napari_d2r.stages._super_resolve_plan import SuperResolvePlan

__all__ = ["identity_of", "is_made"]

_HASHED_BYTES, _SLAB_SLICES = 2**30, 16


def is_made(plan: SuperResolvePlan) -> bool:
    """Whether what a plan would leave stands there already, half-widths included."""
    files = [plan.output] if plan.uncertainty is None else [plan.output, beside(plan.output)]
    if not all(file.exists() for file in files):
        return False
    identity = identity_of(plan)
    return all(is_of(file, identity) for file in files)


def identity_of(plan: SuperResolvePlan) -> str:
    """A hash of everything that shapes the result: input, model and settings.

    Up to 1 GiB every voxel counts, which takes about a second. Of more, slabs spread evenly
    along Z that hold about 1 GiB: a file that was replaced is noticed, in bounded time.
    """
    volume, grid = plan.volume, plan.grid
    weights = plan.model.card.weights_sha256 if plan.model else plan.job.method
    facts = (volume.shape, str(volume.dtype), tuple(volume.voxel_size), grid, plan.gap)
    drawn = (plan.sampler, plan.refiner and plan.refiner.card.weights_sha256)
    made_by = (weights, drawn, plan.engine, plan.job.seed, plan.intensity, plan.job.fall_back)
    digest = hashlib.blake2b(f"{facts} {made_by}".encode())
    slice_bytes = math.prod(volume.shape[1:]) * volume.dtype.itemsize
    thickness = max(1, min(_SLAB_SLICES, _HASHED_BYTES // (8 * slice_bytes)))
    starts = range(0, volume.shape[0], thickness)
    every = -(-volume.shape[0] * slice_bytes // _HASHED_BYTES)
    for start in sorted({*starts[::every], starts[-1]}):
        slab = volume.read(z=slice(start, start + thickness))
        digest.update(slab.tobytes())
    return digest.hexdigest()
