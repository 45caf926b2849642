"""Numbers of a comparison: at the cross, and along a line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.widgets._compare_sampling import Point, line_points, sample_points
from napari_d2r.widgets._compare_scene import Scene


def values_at(scene: Scene, position: Point) -> tuple[Point, list[float]]:
    """The position again, and the value of each stack there; NaN outside."""
    point = np.array([position])
    return position, [float(sample_points(stack, point)[0]) for stack in scene.stacks]


def profile_of(
    scene: Scene, start: Point, stop: Point
) -> tuple[NDArray[Any], list[NDArray[np.float64]]]:
    """Distances along a line, a voxel apart, and the values of each stack."""
    moved = [axis for axis in range(3) if start[axis] != stop[axis]]
    spacing = min(scene.grid[axis].step for axis in moved or range(3))
    distances, points = line_points(start, stop, spacing)
    return distances, [sample_points(stack, points) for stack in scene.stacks]


def described(scene: Scene, position: Point, values: list[float]) -> str:
    """Position and values in a line of text."""
    place = ", ".join(f"{axis} {at:.6g}" for axis, at in zip("zyx", position, strict=True))
    numbers = [
        f"{label}: {'outside' if math.isnan(value) else f'{value:.4g}'}"
        for label, value in zip(scene.labels, values, strict=True)
    ]
    return f"{place} {scene.unit}   \u2013   " + ", ".join(numbers)
