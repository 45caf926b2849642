"""``napari-d2r export``: a volume in the format of another program."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_d2r.cli._options import STACK_HELP, AddParser, add_reading, open_stack
from napari_d2r.cli._progress import Reporter
from napari_d2r.cli._results import drain
from napari_d2r.jobs import CancelToken, Outcome

FORMATS = ("tiff-stack", "hdf5", "mrc", "ome-zarr-0.4", "ome-zarr-0.5", "precomputed")


def add_export(add: AddParser) -> None:
    """Declare the command."""
    parser = add("export", help="write a volume for another program")
    parser.add_argument("volume", help=STACK_HELP)
    parser.add_argument("output", type=Path, help="a new folder, for hdf5 and mrc a file")
    parser.add_argument("--to", required=True, choices=FORMATS, help="the format")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    add_reading(parser)
    parser.set_defaults(run=run_export_command)


def run_export_command(
    arguments: argparse.Namespace, cancel: CancelToken, reporter: Reporter
) -> Outcome:
    """Export."""
    from napari_d2r.stages.export import run_export

    volume = open_stack(arguments.volume, arguments)
    events = run_export(
        volume, arguments.output, arguments.to, overwrite=arguments.overwrite, cancel=cancel
    )
    outcome, path = drain(events, reporter)
    if outcome is Outcome.COMPLETED:
        shape = " x ".join(map(str, volume.shape))
        reporter.print([f"{path}: {shape} voxels of {volume.voxel_size}, {arguments.to}"])
    return outcome
