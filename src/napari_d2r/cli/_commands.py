"""The six commands. Heavy imports wait until a command runs, so that --help is instant."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from napari_d2r.cli._progress import Reporter
from napari_d2r.errors import InputError
from napari_d2r.jobs import (
    CancelToken,
    Device,
    Event,
    Finished,
    Outcome,
    SuperResolveJob,
    TrainJob,
    load_preset,
    preset_names,
)
from napari_d2r.volumes import Interpolation, Volume, VoxelSize

_BASELINES = get_args(Interpolation)

AddParser = Callable[..., argparse.ArgumentParser]


def add_demo(add: AddParser) -> None:
    parser = add("demo", help="make a sample, train, super-resolve, evaluate, draw; offline")
    parser.add_argument("--out", type=Path, default=Path("d2r-demo"), help="folder for all of it")
    parser.add_argument(
        "--max-minutes", type=_positive, default=2.0, help="time for training (default: 2)"
    )
    parser.set_defaults(run=_demo)


def add_info(add: AddParser) -> None:
    parser = add("info", help="what a stack or a model is, before anything is computed")
    parser.add_argument("path", help="a stack, or the folder of a model")
    _add_reading(parser)
    parser.add_argument("--json", metavar="FILE", help="write it as JSON; - for standard output")
    parser.set_defaults(run=_info)


def add_train(add: AddParser) -> None:
    parser = add("train", help="learn from one anisotropic stack, without ground truth")
    parser.add_argument("stack", help="TIFF, folder of slices, OME-Zarr, zarr, HDF5, MRC or npy")
    parser.add_argument("folder", type=Path, help="where the models go")
    parser.add_argument("--preset", default="quick", help=f"{', '.join(preset_names())}")
    parser.add_argument("--job", type=Path, metavar="YAML", help="a job file instead of a preset")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="override a field"
    )
    parser.add_argument("--factor", type=float, help="axial factor R; default: isotropic voxels")
    _add_reading(parser)
    _add_running(parser)
    parser.set_defaults(run=_train)


def add_super_resolve(add: AddParser) -> None:
    parser = add("super-resolve", help="sample a stack finer along Z")
    parser.add_argument("stack", help="TIFF, folder of slices, OME-Zarr, zarr, HDF5, MRC or npy")
    parser.add_argument("output", type=Path, help="*.ome.zarr or *.tif")
    parser.add_argument(
        "--model", help=f"folder of a trained model, or {', '.join(_BASELINES)} to interpolate"
    )
    parser.add_argument("--factor", type=float, help="axial factor R; default: isotropic voxels")
    parser.add_argument(
        "--keep-measured", action="store_true", help="round R so that every measured slice is kept"
    )
    parser.add_argument("--shard", type=int, help="edge of a unit of work in voxels")
    _add_reading(parser)
    _add_running(parser)
    parser.set_defaults(run=_super_resolve)


def add_evaluate(add: AddParser) -> None:
    parser = add(
        "evaluate",
        help="compare a result with an isotropic reference, or a model with linear without one",
    )
    parser.add_argument("result", help="what super-resolve wrote; with --model, a measured stack")
    parser.add_argument("reference", nargs="?", help="the isotropic truth")
    parser.add_argument("--factor", type=float, help="every R-th slice of the truth was kept")
    parser.add_argument(
        "--model", type=Path, help="without a reference: leave measured slices out, predict them"
    )
    _add_reading(parser)
    _add_report(parser)
    parser.set_defaults(run=_evaluate)


def add_fsc(add: AddParser) -> None:
    parser = add("fsc", help="Fourier shell correlation of two volumes")
    parser.add_argument("first")
    parser.add_argument("second")
    _add_reading(parser)
    _add_report(parser)
    parser.set_defaults(run=_fsc)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--voxel-size", type=_voxel_size, metavar="Z,Y,X", help="in nm; overrides the file"
    )
    parser.add_argument("--channel", type=int, metavar="N", help="of a volume with channels")
    parser.add_argument("--time", type=int, metavar="N", help="of a volume with time points")


def _add_running(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=get_args(Device), help="default: auto")
    parser.add_argument("--seed", type=int, help="default: 0")
    parser.add_argument("--max-minutes", type=_positive, help="time budget")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - for stdout")


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON; - for stdout")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw it: png, pdf or svg")


def _demo(arguments: argparse.Namespace, cancel: CancelToken) -> Outcome:
    from napari_d2r.demo import run_demo

    reporter = Reporter()
    lines: list[str] = []
    events = run_demo(
        arguments.out, max_minutes=arguments.max_minutes, say=lines.append, cancel=cancel
    )
    outcome, _ = _drain(events, reporter)
    _print(lines)
    return outcome


def _info(arguments: argparse.Namespace, cancel: CancelToken) -> Outcome:
    from napari_d2r.checkpoints import load_card, load_index
    from napari_d2r.io import probe

    path = Path(arguments.path)
    if (path / "card.json").is_file() or (path / "models.json").is_file():
        index = load_index(path)
        names = index.models if index else ["."]
        cards = {name: load_card(path / name)[0] for name in names}
        _print(f"{name}: {card.summary}" for name, card in cards.items())
        if index:
            _print([f"default: {index.reason}"])
        _write_json(
            arguments.json, {name: card.model_dump(mode="json") for name, card in cards.items()}
        )
        return Outcome.COMPLETED
    info = probe(arguments.path)
    size = arguments.voxel_size or info.voxel_size
    shape = " x ".join(map(str, info.shape))
    lines = [f"{path.name}: {info.format}, {shape} ({', '.join(info.axes)}), {info.dtype}"]
    lines += [f"voxel size: {size or 'unknown'}"]
    if size is not None and size.anisotropy > 1.01:
        lines += [f"anisotropy: {size.anisotropy:.4g}, the factor that makes voxels isotropic"]
    lines += [f"size: {info.num_bytes / 1e9:.3g} GB decoded", *(f"note: {n}" for n in info.notes)]
    _print(lines)
    report = {
        "format": info.format,
        "axes": info.axes,
        "shape": list(info.shape),
        "dtype": str(info.dtype),
        "voxel_size_nm": None if size is None else list(size),
        "anisotropy": None if size is None else size.anisotropy,
        "num_bytes": info.num_bytes,
        "notes": list(info.notes),
    }
    _write_json(arguments.json, report)
    return Outcome.COMPLETED


def _train(arguments: argparse.Namespace, cancel: CancelToken) -> Outcome:
    from napari_d2r.stages.train import resolve_train, run_train

    if arguments.job is not None:
        job = TrainJob.from_yaml(_text_of(arguments.job), str(arguments.job))
    else:
        job = load_preset(arguments.preset)
    job = TrainJob.checked(job.override(arguments.set).model_dump() | _given(arguments, "factor"))
    keep = {"resume": arguments.resume, "overwrite": arguments.overwrite}
    plan = resolve_train(job, _open(arguments.stack, arguments), arguments.folder, **keep)
    if arguments.dry_run:
        _print((*plan.lines(), *(f"note: {warning}" for warning in plan.warnings)))
        return Outcome.COMPLETED
    outcome, trained = _drain(run_train(plan, **keep, cancel=cancel), Reporter())
    if outcome is Outcome.COMPLETED:
        gains = {name: gain.gain_db for name, gain in trained.gains.items()}
        _print(f"{name}: {gain.sentence()}" for name, gain in trained.gains.items())
        _print([f"models in {trained.folder}, default: {trained.default}"])
        report = {"folder": str(trained.folder), "default": trained.default}
        _write_json(arguments.json, report | {"leave_one_out_gain_db": gains})
    else:
        sys.stderr.write(f"the training so far is kept in {plan.folder}; go on with --resume\n")
    return outcome


def _super_resolve(arguments: argparse.Namespace, cancel: CancelToken) -> Outcome:
    from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve

    fields = _given(arguments, "factor", "shard") | {"keep_measured": arguments.keep_measured}
    if arguments.model in _BASELINES and not Path(arguments.model).exists():
        fields["method"] = arguments.model
    else:
        fields["model"] = arguments.model
    job = SuperResolveJob.checked(fields, "super-resolve")
    keep = {"resume": arguments.resume, "overwrite": arguments.overwrite}
    plan = resolve_super_resolve(job, _open(arguments.stack, arguments), arguments.output, **keep)
    report: dict[str, Any] = {
        "output": str(plan.output),
        "shape": list(plan.output_shape),
        "voxel_size_nm": list(plan.voxel_size),
        "factor": plan.grid.factor,
        "shard": list(plan.shard.shape),
        "memory_bytes": plan.memory_bytes,
        "disk_bytes": plan.num_bytes,
        "estimated_seconds": plan.seconds,
        "warnings": list(plan.warnings),
    }
    if arguments.dry_run:
        _print((*plan.lines(), *(f"note: {warning}" for warning in plan.warnings)))
        _write_json(arguments.json, report)
        return Outcome.COMPLETED
    outcome, done = _drain(run_super_resolve(plan, **keep, cancel=cancel), Reporter())
    if outcome is Outcome.COMPLETED:
        voxels = done.shape[0] * done.shape[1] * done.shape[2]
        _print(
            [
                f"{done.path}: {' x '.join(map(str, done.shape))} voxels of {done.voxel_size}, "
                f"{done.seconds:.1f} s, {voxels / done.seconds / 1e6:.2f} million voxels per second"
            ]
        )
        _write_json(arguments.json, report | {"seconds": done.seconds})
    else:
        sys.stderr.write(f"finished shards are kept in {done}; go on with --resume\n")
    return outcome


def _evaluate(arguments: argparse.Namespace, cancel: CancelToken) -> Outcome:
    from napari_d2r.stages.evaluate import evaluate_stream

    if (arguments.reference is None) == (arguments.model is None):
        raise InputError("evaluate takes a RESULT and a REFERENCE, or a STACK and --model FOLDER.")
    if arguments.reference is None:
        return _gain(arguments, cancel)
    if arguments.factor is None:
        raise InputError("evaluate needs --factor R: every R-th slice of the reference was kept.")
    result, reference = (_open(path, arguments) for path in (arguments.result, arguments.reference))
    events = evaluate_stream(result, reference, factor=arguments.factor)
    outcome, report = _drain(events, Reporter(), cancel)
    if outcome is not Outcome.COMPLETED:
        return outcome
    _print([report.table()])
    _write_json(arguments.json, report.to_json())
    if arguments.figure is not None:
        from napari_d2r.figures import draw_evaluation

        draw_evaluation(report, result, reference, arguments.figure)
    return outcome


def _gain(arguments: argparse.Namespace, cancel: CancelToken) -> Outcome:
    from napari_d2r.stages.gain import gain_stream, gain_to_json

    if arguments.figure is not None:
        raise InputError(
            "--figure needs a reference; without one there is the sentence and --json."
        )
    stack = _open(arguments.result, arguments)
    events = gain_stream(stack, arguments.model, factor=arguments.factor, cancel=cancel)
    outcome, gain = _drain(events, Reporter())
    if outcome is Outcome.COMPLETED:
        _print([gain.sentence()])
        _write_json(arguments.json, gain_to_json(gain))
    return outcome


def _fsc(arguments: argparse.Namespace, cancel: CancelToken) -> Outcome:
    from napari_d2r.stages.fsc import fsc_stream

    first, second = (_open(path, arguments) for path in (arguments.first, arguments.second))
    outcome, report = _drain(fsc_stream(first, second), Reporter(), cancel)
    if outcome is not Outcome.COMPLETED:
        return outcome
    _print([report.table()])
    _write_json(arguments.json, report.to_json())
    if arguments.figure is not None:
        from napari_d2r.figures import draw_fsc

        draw_fsc(report, arguments.figure)
    return outcome


def _open(path: str, arguments: argparse.Namespace) -> Volume:
    from napari_d2r.io import open_volume

    return open_volume(
        path,
        voxel_size=arguments.voxel_size,
        channel=arguments.channel,
        time=arguments.time,
    )


def _given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Options that were given, of those that belong to the job."""
    named = ("device", "seed", "max_minutes", *names)
    return {name: value for name in named if (value := getattr(arguments, name)) is not None}


def _drain(
    events: Iterator[Event], reporter: Reporter, cancel: CancelToken | None = None
) -> tuple[Outcome, Any]:
    """Show every event; return how the job ended and with what.

    ``cancel`` is for jobs that do not look at it themselves.
    """
    try:
        for event in events:
            reporter(event)
            if isinstance(event, Finished):
                return event.outcome, event.result
            if cancel:
                return Outcome.CANCELLED, None
    finally:
        reporter.close()
    raise AssertionError("a job ends with Finished")


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def require_report_folders(arguments: argparse.Namespace) -> None:
    """Refuse a report that could not be written, before the work and not after it."""
    for option in ("json", "figure"):
        target = getattr(arguments, option, None)
        if target is None or target == "-":
            continue
        if Path(target).is_dir():
            raise InputError(f"--{option} {target} is a folder; give the name of a file.")
        folder = Path(target).resolve().parent
        if not folder.is_dir():
            raise InputError(f"--{option}: there is no folder {folder}; create it first.")


def _text_of(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"There is no job file at {path}.")
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file; a job is written in YAML.") from error


def _write_json(target: str | None, report: Any) -> None:
    if target is None:
        return
    text = report if isinstance(report, str) else json.dumps(report, indent=2)
    if target == "-":
        sys.stdout.write(text + "\n")
    else:
        Path(target).write_text(text + "\n", "utf-8")


def _voxel_size(text: str) -> VoxelSize:
    try:
        return VoxelSize.parse(text)
    except InputError as error:  # of a ValueError argparse would hide the sentence
        raise argparse.ArgumentTypeError(str(error)) from error


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, not {text!r}")
    return value
