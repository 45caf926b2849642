"""OME-Zarr 0.5 metadata of a volume and its coarser levels."""

from __future__ import annotations

from typing import Any

from yaozarrs import v05

from napari_d2r.io._pyramid import Level
from napari_d2r.volumes import VoxelSize

__all__ = ["AXES", "image_metadata"]

AXES = ("z", "y", "x")


def image_metadata(
    name: str,
    levels: list[Level],
    voxel_size: VoxelSize,
    origin: tuple[float, ...],
    *,
    has_channels: bool = False,
) -> dict[str, Any]:
    """OME-Zarr 0.5 group metadata; channels, where there are any, are the first axis.

    A voxel that spans k finer ones has its centre (k - 1) / 2 of them further on, which
    viewers must be told or they shift the coarser levels.
    """
    datasets, first = [], int(has_channels)
    for number, level in enumerate(levels):
        pairs = list(zip(level.spans, voxel_size, strict=True))
        steps: list[dict[str, Any]] = [
            {"type": "scale", "scale": [1.0] * first + [k * edge for k, edge in pairs]}
        ]
        shift = [start + (k - 1) / 2 * edge for start, (k, edge) in zip(origin, pairs, strict=True)]
        if any(shift):
            steps.append({"type": "translation", "translation": [0.0] * first + shift})
        datasets.append({"path": str(number), "coordinateTransformations": steps})
    axes: list[dict[str, Any]] = [{"name": "c", "type": "channel"}] * first
    axes += [{"name": axis, "type": "space", "unit": "nanometer"} for axis in AXES]
    image = v05.Image.model_validate(
        {"multiscales": [{"name": name, "axes": axes, "datasets": datasets}]}
    )
    return image.model_dump(mode="json", exclude_none=True)
