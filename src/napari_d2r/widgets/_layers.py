"""Between napari's layers and volumes: voxel sizes in, placement out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from napari.layers import Image
from napari.utils.transforms import Affine

from napari_d2r._npe2 import METADATA
from napari_d2r.errors import InputError
from napari_d2r.io import channels_first
from napari_d2r.volumes import ArrayLike, Volume, VoxelSize

PREVIEW = "live preview"  # kind, in that provenance, of a layer that is only for the moment
Box = tuple[slice, slice, slice]
_TURNED = (
    "{name} is rotated, sheared, mirrored or scaled by its affine; reset its transform (or "
    "resample it), because slices must be stacked along one axis, as far apart as its scale says."
)


def voxel_size_of(layer: Image) -> VoxelSize | None:
    """Voxel edges in nm along z, y, x, or None where the layer is in pixels."""
    edges = []
    for scale, unit in zip(layer.scale[-3:], layer.units[-3:], strict=True):
        if not unit.is_compatible_with("nm"):
            return None
        edges.append(abs(float((float(scale) * unit).to("nm").magnitude)))
    return VoxelSize(*edges) if len(edges) == 3 else None


def known_edges_of(layer: Any) -> tuple[float | None, float | None, float | None]:
    """What the file of a layer in pixels did say about its edges, in nm along z, y, x."""
    stated = {} if layer is None else layer.metadata.get(METADATA, {})
    z, y, x = stated.get("voxel_size_nm", (None, None, None))
    return z, y, x


def finest_data(layer: Image) -> ArrayLike:
    """The full-resolution array of a layer, multiscale or not; nothing is read.

    It is the array itself: what a dock gets is in a proxy, if its module is called napari…, as
    our lazy arrays' is, and a proxy cannot be sent to another process.
    """
    data = layer.data[0] if layer.multiscale else layer.data
    array: ArrayLike = getattr(data, "__wrapped__", data)
    return array


def require_stack(layer: Any, *, in_colour: bool = False) -> None:
    """Refuse what is not one stack, grey or perhaps RGB, in words.

    Raises
    ------
    InputError
        For no layer, labels and other kinds, RGB unless ``in_colour``, 2D, time or channel
        axes, and transforms other than scale and translate.
    """
    if layer is None:
        raise InputError("There is no image; open a stack, or one from File > Open Sample > D2R.")
    if not isinstance(layer, Image):
        kind = type(layer).__name__.lower()
        raise InputError(f"{layer.name} is a {kind} layer; choose an image layer.")
    if layer.rgb and not in_colour:
        raise InputError(
            f"{layer.name} is an RGB image; split it (Layers > Split RGB) and choose one channel."
        )
    if layer.ndim < 3:
        raise InputError(f"{layer.name} is a single 2D image; a stack of slices is needed.")
    if layer.ndim > 3:
        raise InputError(
            f"{layer.name} has {layer.ndim} axes; split it into stacks of three "
            "(Layers > Split Stack) and choose one."
        )
    linear = np.asarray(layer.affine.linear_matrix)
    is_turned = not np.allclose(np.asarray(layer.rotate), np.eye(3)) or np.any(
        np.asarray(layer.shear) != 0
    )
    if is_turned or not np.allclose(linear, np.eye(3)) or np.any(layer.scale <= 0):
        raise InputError(_TURNED.format(name=layer.name))


def volume_of(layer: Image, voxel_size: VoxelSize, *, in_colour: bool = False) -> Volume:
    """The volume behind a layer; lazy data stay lazy. Of RGB three channels, without alpha.

    Raises
    ------
    InputError
        As `require_stack`.
    """
    require_stack(layer, in_colour=in_colour)
    path, data = layer.source.path, finest_data(layer)
    if layer.rgb:
        data = channels_first(_without_alpha(data), layer.name)
    return Volume(data, voxel_size, layer.name, Path(path) if path else None)


def has_alpha(layer: Image) -> bool:
    """Whether a layer is RGBA."""
    return bool(layer.rgb) and finest_data(layer).shape[-1] == 4


def _without_alpha(data: ArrayLike) -> ArrayLike:
    """(Z, Y, X, 3 or 4) as (Z, Y, X, 3); nothing is read."""
    if data.shape[-1] == 3:
        return data
    is_sliced_lazily = isinstance(data, np.ndarray | da.Array)
    colours: ArrayLike = (data if is_sliced_lazily else da.from_array(data))[..., :3]
    return colours


def placement(
    layer: Image,
    factor: float,
    start: tuple[float, float, float] = (0, 0, 0),
    *,
    offset: float = 0.0,
    copy_contrast: bool = True,
) -> dict[str, Any]:
    """Arguments of ``add_image`` for a result that lies on its source.

    Input slice j and output slice j r share one world position, so translate stays that
    of the source (of the region's first voxel, where only a region was computed), plus the
    ``offset`` of the output grid.

    Parameters
    ----------
    layer
        The source.
    factor
        r, how many times finer the result is sampled along z.
    offset
        Output voxels along z by which the result begins after its source.
    start
        First voxel of the region of the source that was computed.
    """
    scale = np.array(layer.scale, float)
    scale[0] /= factor
    first = np.array(Affine(scale=layer.scale, translate=layer.translate)(start), float)
    first[0] += offset * scale[0]
    placed = {
        "scale": scale,
        "translate": first,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
        "affine": np.asarray(layer.affine.affine_matrix),
        "rgb": bool(layer.rgb),
    }
    if copy_contrast:
        placed |= {
            "contrast_limits": tuple(layer.contrast_limits),
            "colormap": layer.colormap,
            "gamma": layer.gamma,
        }
    return placed


def confirm_voxel_size(layer: Image, voxel_size: VoxelSize) -> None:
    """Set a size that the user entered on the layer, so that results lie where it lies."""
    known = voxel_size_of(layer)
    if known is not None and np.allclose(tuple(known), tuple(voxel_size), rtol=1e-6):
        return
    edges = np.array(tuple(voxel_size), float)
    moved = np.array(layer.translate) / np.array(layer.scale) * edges
    layer.scale, layer.translate, layer.units = edges, moved, ("nm",) * 3
