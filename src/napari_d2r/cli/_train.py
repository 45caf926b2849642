"""``napari-d2r train``: the three stages on one stack."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from napari_d2r.cli._options import (
    STACK_HELP,
    AddParser,
    add_degradation,
    add_reading,
    add_roi,
    add_running,
    degradation_of,
    given,
    open_stack,
    part_of,
    text_of,
)
from napari_d2r.cli._progress import Reporter
from napari_d2r.cli._results import drain, write_json
from napari_d2r.cli._silent import Silent
from napari_d2r.jobs import CancelToken, Outcome, TrainJob, load_preset, preset_names


def add_train(add: AddParser) -> None:
    """Declare the command."""
    parser = add("train", help="learn from one anisotropic stack, without ground truth or with it")
    parser.add_argument("stack", help=STACK_HELP)
    parser.add_argument("folder", type=Path, help="where the models go")
    parser.add_argument("--preset", default="quick", help=f"{', '.join(preset_names())}")
    parser.add_argument("--job", type=Path, metavar="YAML", help="a job file instead of a preset")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="override a field"
    )
    parser.add_argument(
        "--from",
        dest="start_from",
        type=Path,
        metavar="MODEL",
        help="adapt a model: bundled, or a folder; default: from scratch",
    )
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="VOLUME",
        help="isotropic volume with the same pixels to learn from instead of the stack itself",
    )
    parser.add_argument("--factor", type=float, help="axial factor R; default: isotropic voxels")
    add_degradation(parser)
    add_reading(parser, all_channels=True)
    add_roi(parser)
    add_running(parser)
    parser.set_defaults(
        run=run_train_command,
        if_memory_ends="learn from fewer voxels, by --set max_voxels=N or targets.max_voxels=N",
    )


def run_train_command(
    arguments: argparse.Namespace, cancel: CancelToken, reporter: Reporter
) -> Outcome:
    """Train, or print the plan."""
    from napari_d2r.checkpoints import remember_model
    from napari_d2r.stages.train import resolve_train, run_train
    from napari_d2r.training import ranks_told

    is_first = ranks_told().is_first
    if not is_first:  # of several processes one speaks
        reporter, arguments.json = Silent(), None
    if arguments.job is not None:
        job = TrainJob.from_yaml(text_of(arguments.job), str(arguments.job))
    else:
        job = load_preset(arguments.preset)
    how = degradation_of(arguments)
    if arguments.degradation is not None:
        changes = {"kind": how.kind} | ({"sigma": how.sigma} if arguments.sigma else {})
        job = job.override([f"degradation.{name}={value}" for name, value in changes.items()])
    job = TrainJob.checked(
        job.override(arguments.set).model_dump()
        | given(arguments, "factor", "start_from", "reference")
    )
    keep = {"resume": arguments.resume, "overwrite": arguments.overwrite}
    stack = part_of(open_stack(arguments.stack, arguments), arguments.roi)
    plan = resolve_train(job, stack, arguments.folder, **keep)
    report: dict[str, Any] = {
        "folder": str(plan.folder),
        "shape": [part.stop - part.start for part in plan.box],
        "voxel_size_nm": list(plan.volume.voxel_size),
        "factor": plan.factor,
        "gap": plan.gap,
        "max_minutes": plan.job.max_minutes,
        "device": str(plan.device),
        "warnings": list(plan.warnings),
    }
    if arguments.dry_run:
        reporter.print((*plan.lines(), *(f"note: {warning}" for warning in plan.warnings)))
        write_json(arguments.json, report)
        return Outcome.COMPLETED
    outcome, trained = drain(run_train(plan, **keep, cancel=cancel), reporter)
    if outcome is Outcome.COMPLETED:
        if is_first:
            remember_model(trained.folder)
        gains = {name: gain.gain_db for name, gain in trained.gains.items()}
        reporter.print(f"{name}: {gain.sentence()}" for name, gain in trained.gains.items())
        reporter.print([f"models in {trained.folder}, default: {trained.default}"])
        results = {"default": trained.default, "leave_one_out_gain_db": gains}
        write_json(arguments.json, report | results)
    else:
        reporter.say(f"the training so far is kept in {plan.folder}; go on with --resume")
    return outcome
