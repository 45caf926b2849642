"""What the scripts share: where the data is, and a stack of every r-th slice."""

import os
from pathlib import Path

from napari_d2r.io import open_volume
from napari_d2r.volumes import Volume, VoxelSize

DATA = Path(os.environ.get("NAPARI_D2R_DATA", Path(__file__).parents[2] / "shared" / "data"))


def truth_and_stack(name: str, r: int) -> tuple[Volume, Volume]:
    """An isotropic volume, and every r-th slice of it, both in memory."""
    truth = open_volume(DATA / f"{name}.tif")
    values, size = truth.read(), truth.voxel_size
    stack = Volume(values[::r], VoxelSize(size.z * r, size.y, size.x), f"{name}, every {r}th slice")
    return Volume(values, size, name), stack


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Markdown."""
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)
