"""From layers to what is compared: stacks on one grid, contrast, measured slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r._npe2 import METADATA
from napari_d2r.errors import InputError
from napari_d2r.volumes import ArrayLike
from napari_d2r.widgets._compare_sampling import Axis, Grid, Point, Stack, common_grid
from napari_d2r.widgets._layers import finest_data, require_stack, voxel_size_of
from napari_d2r.widgets._provenance import find_source, is_result, provenance_in

MAX_LAYERS = 4
PIXELS = "pixels"
_RED_GREEN_BLUE = np.array([0.299, 0.587, 0.114], np.float32)  # in the luma of Rec. ITU-R BT.601


class Luminance:
    """An RGB or RGBA array as grey values (Z, Y, X), in its own range; read as it is asked for."""

    def __init__(self, colours: ArrayLike) -> None:
        self._colours = colours
        self.shape, self.dtype = tuple(colours.shape[:3]), np.dtype(np.float32)

    def __getitem__(self, key: Any, /) -> NDArray[np.float32]:
        """Of a box, as three slices."""
        return np.asarray(self._colours[key])[..., :3].astype(np.float32) @ _RED_GREEN_BLUE


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What is compared. ``unit`` is ``nm``, or ``pixels`` where no layer has a voxel size.

    ``measured`` are the world positions along z of measured slices, as far as known.
    """

    stacks: tuple[Stack, ...]
    labels: tuple[str, ...]
    grid: Grid
    measured: NDArray[np.float64]
    unit: str

    def is_measured(self, position: float) -> bool:
        """Whether a measured slice lies at a position along z, within rounding."""
        near = np.abs(self.measured - position) < 0.01 * self.grid[0].step
        return bool(near.any())

    def snapped(self, point: Point) -> Point:
        """The grid position nearest to a point."""
        z, y, x = (axis.position(axis.index(at)) for axis, at in zip(self.grid, point, strict=True))
        return z, y, x

    @property
    def middle(self) -> Point:
        """The centre of everything."""
        z, y, x = ((axis.low + axis.high) / 2 for axis in self.grid)
        return z, y, x


def units_in_nm(units: Sequence[Any] | None) -> Point | None:
    """One unit of each of the last three axes in nm; None for pixels and what is no length."""
    if units is None:
        return None
    lengths = [unit for unit in units[-3:] if unit.is_compatible_with("nm")]
    if len(lengths) < 3:
        return None
    z, y, x = (float((1.0 * unit).to("nm").magnitude) for unit in lengths)
    return z, y, x


def make_scene(layers: Sequence[Any], are_linear: Sequence[bool]) -> Scene:
    """Put one to four layers on one grid; nothing is read.

    Raises
    ------
    InputError
        For no layer, what is not a stack, layers in pixels beside layers with units of
        length, and complex values.
    """
    if not layers:
        raise InputError("There is nothing to compare; open a stack, then its result.")
    for layer in layers:
        require_stack(layer, in_colour=True)
    in_pixels = [layer.name for layer in layers if units_in_nm(layer.units) is None]
    if in_pixels and len(set(in_pixels)) < len({layer.name for layer in layers}):
        raise InputError(
            f"{in_pixels[0]} is in pixels and other layers are in nanometres, so nothing says how "
            "they lie on each other; give it its voxel size (layer.scale and layer.units)."
        )
    stacks = tuple(
        _stack_of(layer, linear) for layer, linear in zip(layers, are_linear, strict=True)
    )
    grid = common_grid(stacks)
    return Scene(
        stacks,
        tuple(_label(stack, grid[0]) for stack in stacks),
        grid,
        _measured_positions(layers, stacks),
        PIXELS if in_pixels else "nm",
    )


def default_choice(images: Sequence[Any], active: Any) -> list[Any]:
    """Source, result and reference: the layers that one would compare first.

    A result is a layer that this plugin made, the active one if it is one. Its reference is a
    layer with as many voxels of the same size. Without a result: the stack with the widest gaps
    along z, then the others, three at most.
    """
    stacks = [layer for layer in images if _is_stack(layer)]
    results = [layer for layer in stacks if is_result(layer)]
    if not results:
        return sorted(stacks, key=lambda layer: -_z_step(layer))[:3]
    result = active if active in results else results[-1]
    source = find_source(result, stacks)
    twins = [layer for layer in stacks if layer not in results and _is_twin(layer, result)]
    others = [layer for layer in twins if layer != source]
    return [*([] if source is None else [source]), result, *others[:1]]


def is_anisotropic(layer: Any) -> bool:
    """Whether slices are farther apart than the pixels in them."""
    if not _is_stack(layer):
        return False
    return bool(abs(layer.scale[0]) > 1.01 * np.abs(layer.scale[1:]).min())


def _stack_of(layer: Any, is_linear: bool) -> Stack:
    data = finest_data(layer)
    if np.dtype(data.dtype).kind not in "buif":
        raise InputError(f"{layer.name} holds complex values; show its magnitude instead.")
    unit = np.asarray(units_in_nm(layer.units) or (1.0, 1.0, 1.0))
    first = np.asarray(layer.data_to_world((0, 0, 0))) * unit
    step = np.asarray(layer.data_to_world((1, 1, 1))) * unit - first
    name = layer.name
    if layer.rgb:
        name, data = f"{name}, luminance", Luminance(data)
    return Stack(name, data, _point(step), _point(first), is_linear)


def _label(stack: Stack, grid: Axis) -> str:
    is_made = stack.is_linear and stack.step[0] > 1.01 * grid.step
    return f"{stack.name} (linear)" if is_made else stack.name


def _measured_positions(layers: Sequence[Any], stacks: Sequence[Stack]) -> NDArray[np.float64]:
    """Slices of the stack with the widest gaps, if it has wider ones than another or than x, y.

    A lone result knows by what factor it was made, and any where slices stand unevenly.
    """
    for layer, stack in zip(layers, stacks, strict=True):
        about = provenance_in(layer)
        if about is not None and about.measured_slices_at is not None:
            return stack.origin[0] + stack.step[0] * np.array(about.measured_slices_at)
    coarsest = max(stacks, key=lambda stack: stack.step[0])
    step, origin, num = coarsest.step[0], coarsest.origin[0], coarsest.data.shape[0]
    finest = min(min(stack.step) for stack in stacks)
    if step < 1.01 * min(stack.step[0] for stack in stacks):
        made = layers[stacks.index(coarsest)].metadata.get(METADATA)
        factor = made.get("factor") if isinstance(made, Mapping) else None
        if isinstance(factor, int | float) and factor > 1:
            num = int((num - 1) / factor + 1e-6) + 1
            step *= factor
        elif step < 1.01 * finest:
            num = 0
    return origin + step * np.arange(num, dtype=np.float64)


def _is_stack(layer: Any) -> bool:
    try:
        require_stack(layer, in_colour=True)
    except InputError:
        return False
    return True


def _is_twin(layer: Any, other: Any) -> bool:
    size, same = voxel_size_of(layer), voxel_size_of(other)
    if size is None or same is None:
        return False
    shape, as_long = (finest_data(one).shape[:3] for one in (layer, other))
    is_as_long = np.allclose(shape, as_long, rtol=0.1)
    return bool(is_as_long and np.allclose(tuple(size), tuple(same), rtol=5e-3))


def _z_step(layer: Any) -> float:
    size = voxel_size_of(layer)
    return size.z if size else abs(float(layer.scale[0]))


def _point(values: NDArray[Any]) -> Point:
    z, y, x = (float(value) for value in values)
    return z, y, x
