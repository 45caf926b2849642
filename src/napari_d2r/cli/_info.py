"""``napari-d2r info``: what a stack or a model is."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_d2r.cli._options import AddParser, add_reading
from napari_d2r.cli._progress import Reporter
from napari_d2r.cli._results import write_json
from napari_d2r.jobs import CancelToken, Outcome

ASKS_FOR = "--voxel-size"  # a note that says so needs no saying where it was passed


def add_info(add: AddParser) -> None:
    """Declare the command."""
    parser = add("info", help="what a stack or a model is, before anything is computed")
    parser.add_argument("path", help="a stack, or the folder of a model")
    add_reading(parser)
    parser.add_argument("--json", metavar="FILE", help="write it as JSON; - for standard output")
    parser.set_defaults(run=run_info)


def run_info(arguments: argparse.Namespace, cancel: CancelToken, reporter: Reporter) -> Outcome:
    """Describe what is at a path."""
    path = Path(arguments.path)
    if (path / "card.json").is_file() or (path / "models.json").is_file():
        _describe_model(path, arguments, reporter)
    else:
        _describe_stack(path, arguments, reporter)
    return Outcome.COMPLETED


def _describe_model(path: Path, arguments: argparse.Namespace, reporter: Reporter) -> None:
    from napari_d2r.checkpoints import load_card, load_index

    index = load_index(path)
    names = index.models if index else ["."]
    cards = {name: load_card(path / name)[0] for name in names}
    reporter.print(f"{name}: {card.summary}" for name, card in cards.items())
    if index:
        reporter.print([f"default: {index.reason}"])
    write_json(arguments.json, {name: card.model_dump(mode="json") for name, card in cards.items()})


def _describe_stack(path: Path, arguments: argparse.Namespace, reporter: Reporter) -> None:
    from napari_d2r.io import probe

    info = probe(arguments.path)
    size = arguments.voxel_size or info.voxel_size
    shape = " x ".join(map(str, info.shape))
    lines = [f"{path.name}: {info.format}, {shape} ({', '.join(info.axes)}), {info.dtype}"]
    lines += [f"voxel size: {size or 'unknown'}"]
    if size is not None and size.anisotropy > 1.01:
        lines += [f"anisotropy: {size.anisotropy:.4g}, the factor that makes voxels isotropic"]
    notes = [note for note in info.notes if not (arguments.voxel_size and ASKS_FOR in note)]
    lines += [f"size: {info.num_bytes / 1e9:.3g} GB decoded", *(f"note: {n}" for n in notes)]
    reporter.print(lines)
    report = {
        "format": info.format,
        "axes": info.axes,
        "shape": list(info.shape),
        "dtype": str(info.dtype),
        "voxel_size_nm": None if size is None else list(size),
        "anisotropy": None if size is None else size.anisotropy,
        "num_bytes": info.num_bytes,
        "notes": notes,
    }
    write_json(arguments.json, report)
