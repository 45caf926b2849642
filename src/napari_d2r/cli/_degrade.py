"""``napari-d2r degrade``: the stack that would be measured of an isotropic volume."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from napari_d2r.cli._options import (
    STACK_HELP,
    AddParser,
    add_degradation,
    add_reading,
    degradation_of,
    open_stack,
)
from napari_d2r.cli._progress import Reporter
from napari_d2r.cli._results import write_json
from napari_d2r.errors import InputError
from napari_d2r.jobs import CancelToken, Outcome
from napari_d2r.volumes import VoxelSize, weighted_mean


def add_degrade(add: AddParser) -> None:
    """Declare the command."""
    parser = add("degrade", help="simulate the stack that would be measured of a volume")
    parser.add_argument("volume", help=f"isotropic: {STACK_HELP}")
    parser.add_argument("output", type=Path, help="*.tif")
    parser.add_argument("--factor", type=int, required=True, help="slices that one replaces")
    add_degradation(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument("--json", metavar="FILE", help="write what was made as JSON; - for stdout")
    add_reading(parser)
    parser.set_defaults(run=run_degrade)


def run_degrade(arguments: argparse.Namespace, cancel: CancelToken, reporter: Reporter) -> Outcome:
    """Read and write slice by slice."""
    from napari_d2r.io import save_tiff

    how, factor = degradation_of(arguments), arguments.factor
    if arguments.output.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(f"{arguments.output} must end in .tif, which can be written.")
    volume = open_stack(arguments.volume, arguments)
    volume.require_single_channel()
    if factor < 2:
        raise InputError(f"--factor takes a whole number from 2 on, not {factor}.")
    windows = how.windows(volume.shape[0], factor)

    def slices() -> Iterator[NDArray[Any]]:
        for part, weights in windows:
            yield weighted_mean(volume.read(part), weights)

    size = volume.voxel_size
    size, shape = VoxelSize(size.z * factor, size.y, size.x), (len(windows), *volume.shape[1:])
    save_tiff(
        arguments.output,
        slices(),
        shape=shape,
        dtype=volume.dtype,
        voxel_size=size,
        overwrite=arguments.overwrite,
    )
    reporter.print([f"{arguments.output}: {len(windows)} slices, {how}, one in {factor}"])
    made = {"output": str(arguments.output), "shape": list(shape), "voxel_size_nm": list(size)}
    write_json(arguments.json, made | {"degradation": asdict(how)})
    return Outcome.COMPLETED
