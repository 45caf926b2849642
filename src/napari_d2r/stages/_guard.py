"""Gaps that look damaged are found before a run, and kept from the network."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from napari_d2r.inference import AxialPredictor, FallbackPredictor, InterpolationPredictor
from napari_d2r.inspection import Inspection, damaged_gaps, inspect_stream
from napari_d2r.jobs import CancelToken, Event, Finished, StageStarted
from napari_d2r.stages._super_resolve_plan import SuperResolvePlan
from napari_d2r.volumes import Volume, centred_box, crop

__all__ = ["find_damage", "guarded", "sound_slices", "told_damage", "with_fallback"]

_EDGE = 1024  # pixels of a slice's middle that are looked at: enough to tell, quick to read


def find_damage(
    volume: Volume, cancel: CancelToken | None
) -> Generator[Event, None, tuple[int, ...]]:
    """Look through the middle of every slice; returns the gaps that look damaged."""
    yield StageStarted("look for damaged slices")
    most = (volume.shape[0], _EDGE, _EDGE)
    z, y, x = centred_box(volume.shape, most)
    for event in inspect_stream(crop(volume, (z, y, x)), cancel=cancel):
        if isinstance(event, Finished):
            inspection: Inspection = event.result
            return damaged_gaps(inspection.findings, volume.shape[0])
        yield event
    raise AssertionError("an inspection ends with Finished")


def guarded(plan: SuperResolvePlan, damaged: tuple[int, ...]) -> SuperResolvePlan:
    """The plan, with linear interpolation in the damaged gaps."""
    return replace(plan, predictor=with_fallback(plan.predictor, damaged))


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
