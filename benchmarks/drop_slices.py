"""Keep every r-th slice of an isotropic TIFF, with the voxel size to match.

python benchmarks/drop_slices.py truth.tif stack.tif 8
"""

import sys

from napari_d2r.io import open_volume, save_tiff
from napari_d2r.volumes import VoxelSize

source, target, factor = sys.argv[1], sys.argv[2], int(sys.argv[3])
truth = open_volume(source)
kept = truth.read(z=slice(None, None, factor))
size = VoxelSize(truth.voxel_size.z * factor, truth.voxel_size.y, truth.voxel_size.x)
save_tiff(target, iter(kept), shape=kept.shape, dtype=kept.dtype, voxel_size=size, overwrite=True)
