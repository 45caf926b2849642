"""Options that several commands share, and what they turn into."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from napari_d2r.errors import InputError
from napari_d2r.jobs import Device, read_yaml
from napari_d2r.volumes import Degradation, DegradationKind, Volume, VoxelSize, crop

Box = tuple[slice, slice, slice]
AddParser = Callable[..., argparse.ArgumentParser]

FIGURE_SUFFIXES = (".png", ".pdf", ".svg")
STACK_HELP = "TIFF, folder of slices, OME-Zarr, zarr, HDF5, MRC or npy"


def add_reading(parser: argparse.ArgumentParser, *, all_channels: bool = False) -> None:
    """How a stack is read; ``all_channels`` where a method may take them together."""
    parser.add_argument(
        "--voxel-size", type=voxel_size, metavar="Z,Y,X", help="in nm; overrides the file"
    )
    parser.add_argument(
        "--channel",
        type=_channel if all_channels else int,
        metavar="N",
        help="of a volume with channels" + (", or all" if all_channels else ""),
    )
    parser.add_argument("--time", type=int, metavar="N", help="of a volume with time points")


def add_roi(parser: argparse.ArgumentParser) -> None:
    """Which part of a stack is looked at."""
    parser.add_argument(
        "--roi",
        type=_roi,
        metavar="Z,Y,X",
        help="a part of the stack, START:STOP in voxels along each axis, such as :,128:640,0:512",
    )


def add_running(parser: argparse.ArgumentParser) -> None:
    """How a long job is run."""
    add_device(parser)
    parser.add_argument("--seed", type=int, help="default: 0")
    parser.add_argument("--max-minutes", type=positive, help="time budget")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - for stdout")
    parser.add_argument(
        "--events",
        action="store_true",
        help="for programs: events as JSON lines on stdout, requests to stop on stdin",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Where to compute."""
    parser.add_argument("--device", choices=get_args(Device), help="default: auto")


def add_report(parser: argparse.ArgumentParser) -> None:
    """Where a measurement is written."""
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON; - for stdout")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw it: png, pdf or svg")


def add_degradation(parser: argparse.ArgumentParser) -> None:
    """How slices were measured."""
    parser.add_argument(
        "--degradation",
        choices=get_args(DegradationKind),
        help="slices are samples (slice), means over R (block), or samples of what is blurred "
        "along Z (gaussian); default: slice",
    )
    parser.add_argument(
        "--sigma", type=positive, metavar="S", help="of the gaussian, in lateral voxels; default: 4"
    )


def degradation_of(arguments: argparse.Namespace) -> Degradation:
    """What those options describe."""
    kind: DegradationKind = arguments.degradation or "slice"
    sigma: float | None = arguments.sigma
    if sigma is not None and kind != "gaussian":
        raise InputError("--sigma goes with --degradation gaussian.")
    return Degradation(kind) if sigma is None else Degradation(kind, sigma)


def given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Options that were given, of those that belong to the job."""
    return only(arguments, "device", "seed", "max_minutes", *names)


def only(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Options that were given, of these alone."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def open_stack(path: str, arguments: argparse.Namespace) -> Volume:
    """Open a volume as the reading options say."""
    from napari_d2r.io import open_volume

    return open_volume(
        path,
        voxel_size=arguments.voxel_size,
        channel=arguments.channel,
        time=arguments.time,
    )


def part_of(volume: Volume, roi: Box | None) -> Volume:
    """What ``--roi`` leaves of a volume."""
    return volume if roi is None else crop(volume, roi)


def text_of(path: Path) -> str:
    """The text of a job file."""
    if not path.is_file():
        raise InputError(f"There is no job file at {path}.")
    return read_yaml(path)


def require_reports(arguments: argparse.Namespace) -> None:
    """Refuse a report that could not be written, before the work and not after it."""
    figure: Path | None = getattr(arguments, "figure", None)
    figure_option: str = getattr(arguments, "figure_option", "--figure")
    if figure is not None and figure.suffix.lower() not in FIGURE_SUFFIXES:
        raise InputError(
            f"{figure_option} {figure} must end in {', '.join(FIGURE_SUFFIXES)}, which can be "
            "drawn."
        )
    if getattr(arguments, "events", False):
        if arguments.json == "-":
            raise InputError("--events takes all of stdout; give --json the name of a file.")
        if arguments.dry_run:
            raise InputError("A dry run has no events; leave out --events, or --dry-run.")
    for name, option in (("json", "--json"), ("figure", figure_option)):
        target = getattr(arguments, name, None)
        if target is None or target == "-":
            continue
        if Path(target).is_dir():
            raise InputError(f"{option} {target} is a folder; give the name of a file.")
        folder = Path(target).resolve().parent
        if not folder.is_dir():
            raise InputError(f"{option}: there is no folder {folder}; create it first.")


def positive(text: str) -> float:
    """An argument that is a finite number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, not {text!r}")
    return value


def _channel(text: str) -> int | str:
    return text if text == "all" else int(text)


def voxel_size(text: str) -> VoxelSize:
    try:
        return VoxelSize.parse(text)
    except InputError as error:  # of a ValueError argparse would hide the sentence
        raise argparse.ArgumentTypeError(str(error)) from error


_PART = re.compile(r"(\d*):(\d*)")


def _roi(text: str) -> Box:
    found = [_PART.fullmatch(part.strip()) for part in text.split(",")]
    if len(found) != 3 or None in found:
        raise argparse.ArgumentTypeError(
            f"must be three parts START:STOP for z, y and x, not {text!r}"
        )
    z, y, x = (
        slice(*(int(end) if end else None for end in part.groups())) for part in found if part
    )
    return z, y, x
