"""``napari-d2r evaluate`` and ``fsc``: numbers about a result."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_d2r.cli._options import (
    AddParser,
    add_degradation,
    add_device,
    add_reading,
    add_report,
    degradation_of,
    open_stack,
)
from napari_d2r.cli._progress import Reporter
from napari_d2r.cli._results import drain, write_json
from napari_d2r.errors import InputError
from napari_d2r.jobs import CancelToken, Outcome

_SMALLEST_CROP = 16


def add_evaluate(add: AddParser) -> None:
    """Declare the command."""
    parser = add(
        "evaluate",
        help="compare a result with an isotropic reference, or a model with linear without one",
    )
    parser.add_argument("result", help="what super-resolve wrote; with --model, a measured stack")
    parser.add_argument("reference", nargs="?", help="the isotropic truth")
    parser.add_argument("--factor", type=float, help="every R-th slice of the truth was kept")
    parser.add_argument(
        "--model",
        type=Path,
        help="without a reference: leave measured slices out, predict them; with --controls: also "
        "judge it with twice the noise, inverted contrast and turned",
    )
    parser.add_argument(
        "--controls",
        action="store_true",
        help="with a reference: all interpolations, by depth in the gap, intervals, noise ceiling, "
        "scanning FRC, spectra",
    )
    parser.add_argument(
        "--perception",
        metavar="WHAT",
        help="with a reference: SliceFID and LPIPS by networks in a folder, by download, or by a "
        "random stand-in: FOLDER, download or random",
    )
    add_degradation(parser)
    _add_crop(parser)
    add_device(parser)
    add_reading(parser)
    add_report(parser)
    parser.set_defaults(run=run_evaluate)


def add_fsc(add: AddParser) -> None:
    """Declare the command."""
    parser = add("fsc", help="Fourier shell correlation of two volumes, or within a measured one")
    parser.add_argument("first")
    parser.add_argument("second", nargs="?", help="without it: half of the voxels with the others")
    _add_crop(parser)
    add_reading(parser)
    add_report(parser)
    parser.set_defaults(run=run_fsc)


def _add_crop(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--crop", type=int, metavar="N", help="measure the middle, at most N voxels along each axis"
    )


def run_evaluate(arguments: argparse.Namespace, cancel: CancelToken, reporter: Reporter) -> Outcome:
    """With a reference or, given a model, without one."""
    if arguments.reference is None and arguments.model is None:
        raise InputError("evaluate takes a RESULT and a REFERENCE, or a STACK and --model FOLDER.")
    if arguments.reference is None:
        if arguments.degradation is not None:
            raise InputError("--degradation goes with a reference; a model knows its own.")
        if arguments.controls or arguments.perception is not None:
            raise InputError(
                "--controls and --perception go with a reference: evaluate RESULT REFERENCE "
                "--model FOLDER --controls, or audit."
            )
        return _gain(arguments, cancel, reporter)
    if arguments.model is not None and (
        not arguments.controls or arguments.degradation is not None
    ):
        raise InputError(
            "With a REFERENCE, --model goes with --controls, for slices that are no means and not "
            "blurred; leave it out, or leave out the reference."
        )
    if arguments.crop is not None:
        raise InputError(
            "--crop goes with a STACK and --model; with a reference all that can be is compared."
        )
    if arguments.factor is None:
        raise InputError("evaluate needs --factor R: every R-th slice of the reference was kept.")
    perception = None
    if arguments.perception is not None:
        from napari_d2r.perception import load_perception

        perception = load_perception(arguments.perception)
    paths = (arguments.result, arguments.reference)
    result, reference = (open_stack(path, arguments) for path in paths)
    if arguments.model is None:
        from napari_d2r.stages.evaluate import evaluate_stream

        events = evaluate_stream(
            result,
            reference,
            factor=arguments.factor,
            controls=arguments.controls,
            perception=perception,
            degradation=degradation_of(arguments),
        )
    else:
        from napari_d2r.stages.audit import evaluate_model_stream

        events = evaluate_model_stream(
            result,
            reference,
            factor=arguments.factor,
            model=arguments.model,
            perception=perception,
            device=arguments.device or "auto",
            cancel=cancel,
        )
    outcome, report = drain(events, reporter, cancel)
    if outcome is not Outcome.COMPLETED:
        return outcome
    reporter.print([report.table()])
    write_json(arguments.json, report.to_json())
    if arguments.figure is not None:
        from napari_d2r.figures import draw_evaluation

        draw_evaluation(report, result, reference, arguments.figure)
    return outcome


def _gain(arguments: argparse.Namespace, cancel: CancelToken, reporter: Reporter) -> Outcome:
    from napari_d2r.stages.gain import gain_stream

    stack = open_stack(arguments.result, arguments)
    events = gain_stream(
        stack,
        arguments.model,
        factor=arguments.factor,
        device=arguments.device or "auto",
        max_edge=_crop(arguments),
        cancel=cancel,
    )
    outcome, gain = drain(events, reporter)
    if outcome is Outcome.COMPLETED:
        reporter.print([gain.sentence()])
        write_json(arguments.json, gain.to_json())
        if arguments.figure is not None:
            from napari_d2r.figures import draw_gain

            draw_gain(gain, arguments.figure)
    return outcome


def run_fsc(arguments: argparse.Namespace, cancel: CancelToken, reporter: Reporter) -> Outcome:
    """Two volumes against each other, or one against itself."""
    from napari_d2r.stages.fsc import fsc_stream, one_volume_stream

    first, edge = open_stack(arguments.first, arguments), _crop(arguments)
    if arguments.second is None:
        events = one_volume_stream(first, max_edge=edge, cancel=cancel)
    else:
        second = open_stack(arguments.second, arguments)
        events = fsc_stream(first, second, max_edge=edge, cancel=cancel)
    outcome, report = drain(events, reporter)
    if outcome is not Outcome.COMPLETED:
        return outcome
    reporter.print([report.table()])
    write_json(arguments.json, report.to_json())
    if arguments.figure is not None:
        from napari_d2r.figures import draw_fsc

        draw_fsc(report, arguments.figure)
    return outcome


def _crop(arguments: argparse.Namespace) -> int | None:
    edge: int | None = arguments.crop
    if edge is not None and edge < _SMALLEST_CROP:
        raise InputError(f"--crop takes at least {_SMALLEST_CROP} voxels, not {edge}.")
    return edge
