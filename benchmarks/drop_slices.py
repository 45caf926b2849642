"""Keep every r-th slice of an isotropic TIFF, with the voxel size to match.

python benchmarks/drop_slices.py truth.tif stack.tif 8
"""

import sys

from napari_d2r.io import open_volume, save_tiff
from napari_d2r.volumes import VoxelSize


def main(source: str, target: str, factor: str) -> None:
    truth, r = open_volume(source), int(factor)
    kept = truth.read(z=slice(None, None, r))
    size = truth.voxel_size
    save_tiff(
        target,
        iter(kept),
        shape=kept.shape,
        dtype=kept.dtype,
        voxel_size=VoxelSize(size.z * r, size.y, size.x),
        overwrite=True,
    )


main(*sys.argv[1:])
