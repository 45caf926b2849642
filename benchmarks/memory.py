"""Peak memory of `super-resolve` against the number of slices.

python benchmarks/memory.py MODEL

Each size runs in a process of its own; its input is a zarr array on disk. What must not grow with
the number of slices is the last column.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from _common import print_table

SIZES = (64, 256, 1024)
EDGE = 256
CHILD = """
import resource, sys
from napari_d2r.cli import main
code = main(["super-resolve", sys.argv[1], sys.argv[2], "--model", sys.argv[3],
             "--voxel-size", "80,10,10", "--shard", "128"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
sys.exit(code)
"""


def make_input(path: Path, num_slices: int) -> None:
    """Smooth noise, written slice by slice."""
    import numpy as np
    import zarr
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    shape = (num_slices, EDGE, EDGE)
    array = zarr.create_array(path, shape=shape, chunks=(16, EDGE, EDGE), dtype="u1")
    for z in range(0, num_slices, 16):
        block = gaussian_filter(rng.random((16, EDGE, EDGE)), 2)
        array[z : z + 16] = np.clip((block - 0.4) * 1200, 0, 255).astype("u1")


def main(model: str) -> None:
    rows = []
    for num_slices in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            stack, output = Path(folder) / "stack.zarr", Path(folder) / "out.ome.zarr"
            make_input(stack, num_slices)
            command = [sys.executable, "-c", CHILD, str(stack), str(output), model]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        voxels = ((num_slices - 1) * 8 + 1) * EDGE * EDGE
        rows.append([str(num_slices), f"{voxels / 1e6:.0f}", done.stdout.split()[-1]])
    print_table(["slices", "million output voxels", "peak memory, MiB"], rows)


main(sys.argv[1])
