"""Traps are looked for before a run: they are told, and damaged gaps kept from the network."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from napari_d2r.inference import AxialPredictor, FallbackPredictor, InterpolationPredictor
from napari_d2r.inspection import Finding, Inspection, inspect_stream, inspect_volume
from napari_d2r.jobs import CancelToken, Finished, Progress, Warned
from napari_d2r.volumes import Volume, centred_box, crop

__all__ = [
    "look_through",
    "seen_in",
    "sound_slices",
    "told",
    "told_damage",
    "with_fallback",
]

# Pixels of a slice's middle that are looked at: enough to tell, quick to read.
_EDGE, _GLANCE_EDGE = 1024, 512
_TOLD_NOTES = frozenset({"drift"})


def look_through(
    volume: Volume, cancel: CancelToken | None
) -> Generator[Progress, None, tuple[Finding, ...]]:
    """What is found in the middle of every slice."""
    for event in inspect_stream(_middle(volume, _EDGE), cancel=cancel):
        if isinstance(event, Finished):
            inspection: Inspection = event.result
            return inspection.findings
        yield event
    raise AssertionError("an inspection ends with Finished")


def seen_in(volume: Volume, box: tuple[slice, ...]) -> tuple[Finding, ...]:
    """What is found at a glance: in the middle of every slice of a part (z, y, x)."""
    z, y, x = box
    return inspect_volume(_middle(crop(volume, (z, y, x)), _GLANCE_EDGE))


def _middle(volume: Volume, edge: int) -> Volume:
    z, y, x = centred_box(volume.shape, (volume.shape[0], edge, edge))
    return crop(volume, (z, y, x))


def told(findings: Iterable[Finding]) -> Iterator[Warned]:
    """Each finding that spoils a result, in its own words."""
    for one in findings:
        if one.severity != "note" or one.kind in _TOLD_NOTES:
            yield Warned(one.sentence, one.kind)


def with_fallback(predictor: AxialPredictor, damaged: tuple[int, ...]) -> AxialPredictor:
    """The predictor, with linear interpolation in the damaged gaps."""
    if not damaged:
        return predictor
    return FallbackPredictor(predictor, InterpolationPredictor("linear"), damaged)


def told_damage(damaged: tuple[int, ...]) -> str:
    """What the user is told, in a sentence."""
    edges = (
        [gap for gap in damaged if gap - 1 not in damaged],
        [gap for gap in damaged if gap + 1 not in damaged],
    )
    parts = [f"{first} to {last + 1}" for first, last in zip(*edges, strict=True)]
    shown = ", ".join(parts[:5]) + (f" and {len(parts) - 5} more" if len(parts) > 5 else "")
    return (
        f"Slices look damaged or missing, so between slices {shown} the result is linear "
        "interpolation; switch that off if they are sound."
    )


def sound_slices(damaged: tuple[int, ...], num_slices: int) -> NDArray[np.bool_]:
    """(Z,) which slices lie between sound gaps."""
    gaps = ~np.isin(np.arange(-1, num_slices), damaged)
    return np.array([before and after for before, after in pairwise(gaps)])
