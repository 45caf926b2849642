"""``napari-d2r info``: what a stack or a model is."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from napari_d2r.cli._options import AddParser, add_reading, open_stack
from napari_d2r.cli._progress import Reporter
from napari_d2r.cli._results import drain, write_json
from napari_d2r.errors import InputError
from napari_d2r.jobs import CancelToken, Event, Outcome

if TYPE_CHECKING:
    from napari_d2r.inspection import Finding, Inspection

IN_NOTES = frozenset({"voxel-size", "pixels", "axial-finer"})
ASKS_FOR = "--voxel-size"  # a note that says so needs no saying where it was passed


def add_info(add: AddParser) -> None:
    """Declare the command."""
    parser = add("info", help="what a stack or a model is, before anything is computed")
    parser.add_argument("path", help="a stack, or a model")
    parser.add_argument("--model", type=Path, help="hold a stack against the card of a model")
    add_reading(parser)
    parser.add_argument("--json", metavar="FILE", help="write it as JSON; - for standard output")
    parser.set_defaults(run=run_info)


def run_info(arguments: argparse.Namespace, cancel: CancelToken, reporter: Reporter) -> Outcome:
    """Describe what is at a path."""
    path = Path(arguments.path)
    if not path.exists() and ":" not in arguments.path:
        from napari_d2r.checkpoints import model_folder

        path = model_folder(path)
    if (path / "card.json").is_file() or (path / "models.json").is_file():
        _describe_model(path, arguments, reporter)
        return Outcome.COMPLETED
    return _describe_stack(path, arguments, cancel, reporter)


def _describe_model(path: Path, arguments: argparse.Namespace, reporter: Reporter) -> None:
    from napari_d2r.checkpoints import load_card, load_index, render_card

    if arguments.model is not None:
        raise InputError("--model goes with a stack, which is held against the model.")
    index = load_index(path)
    names = index.models if index else ["."]
    cards = {name: load_card(path / name)[0] for name in names}
    reporter.print([render_card(load_card(path)[0])])
    reporter.print(f"{name}: {card.summary}" for name, card in cards.items())
    if index:
        reporter.print([f"default: {index.reason}"])
    write_json(arguments.json, {name: card.model_dump(mode="json") for name, card in cards.items()})


def _describe_stack(
    path: Path, arguments: argparse.Namespace, cancel: CancelToken, reporter: Reporter
) -> Outcome:
    from napari_d2r.inspection import inspect_stream
    from napari_d2r.io import is_slice_folder, probe

    events = inspect_stream(
        arguments.path, channel=arguments.channel, time=arguments.time, cancel=cancel
    )
    try:
        info = probe(arguments.path)
    except InputError:
        if is_slice_folder(path):  # all that is wrong, before the one sentence
            _tell(drain(events, reporter)[1], reporter)
        raise
    size = arguments.voxel_size or info.voxel_size
    shape = " x ".join(map(str, info.shape))
    lines = [f"{path.name}: {info.format}, {shape} ({', '.join(info.axes)}), {info.dtype}"]
    lines += [f"voxel size: {size or 'unknown'}"]
    if size is not None and size.anisotropy > 1.01:
        lines += [f"anisotropy: {size.anisotropy:.4g}, the factor that makes voxels isotropic"]
    notes = [note for note in info.notes if not (arguments.voxel_size and ASKS_FOR in note)]
    lines += [f"size: {info.num_bytes / 1e9:.3g} GB decoded", *(f"note: {n}" for n in notes)]
    reporter.print(lines)
    outcome, inspection = _inspected(events, reporter)
    _tell(inspection, reporter, IN_NOTES)
    given = {"voxel-size"} if arguments.voxel_size else set()
    fit = _fit(path, arguments) if arguments.model is not None else None
    reporter.print(f"{one.severity}: {one}" for one in fit or ())
    if fit == ():
        reporter.print([f"The stack is like what the model {arguments.model} has learned from."])
    box = inspection.suggested_box
    report = {
        "format": info.format,
        "axes": info.axes,
        "shape": list(info.shape),
        "dtype": str(info.dtype),
        "voxel_size_nm": None if size is None else list(size),
        "anisotropy": None if size is None else size.anisotropy,
        "num_bytes": info.num_bytes,
        "notes": notes,
        "findings": [one.to_json() for one in inspection.findings if one.kind not in given],
        "model_fit": None if fit is None else [one.to_json() for one in fit],
        "suggested_box": None if box is None else [[part.start, part.stop] for part in box],
    }
    write_json(arguments.json, report)
    return outcome


def _fit(path: Path, arguments: argparse.Namespace) -> tuple[Finding, ...]:
    """In what the stack is unlike those that the model knows."""
    from napari_d2r.checkpoints import compare_with_card, load_card, model_folder

    card, _ = load_card(model_folder(arguments.model))
    return compare_with_card(open_stack(arguments.path, arguments), card)


def _inspected(events: Iterator[Event], reporter: Reporter) -> tuple[Outcome, Inspection]:
    """The traps of a stack; none where an axis is still to be chosen, as the notes say."""
    from napari_d2r.inspection import Inspection

    try:
        return drain(events, reporter)
    except InputError:
        return Outcome.COMPLETED, Inspection()


def _tell(inspection: Inspection, reporter: Reporter, told: frozenset[str] = frozenset()) -> None:
    """Print findings, but those that are ``told`` otherwise."""
    lines = [f"{one.severity}: {one}" for one in inspection.findings if one.kind not in told]
    if inspection.suggested_box is not None:
        _, y, x = inspection.suggested_box
        lines.append(f"crop to: rows {y.start} to {y.stop - 1}, columns {x.start} to {x.stop - 1}")
    reporter.print(lines)
