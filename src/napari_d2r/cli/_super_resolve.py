"""``napari-d2r super-resolve``: a stack to a finer one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from napari_d2r.cli._options import (
    STACK_HELP,
    AddParser,
    Box,
    add_reading,
    add_roi,
    add_running,
    given,
    only,
    open_stack,
    part_of,
    positive,
)
from napari_d2r.cli._progress import Reporter
from napari_d2r.cli._results import drain, write_json
from napari_d2r.jobs import CancelToken, Engine, Outcome, SamplerSettings, SuperResolveJob
from napari_d2r.volumes import DegradationKind, Interpolation, axial_positions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_d2r.stages.super_resolve import SuperResolvePlan

_BASELINES = get_args(Interpolation)


def add_super_resolve(add: AddParser) -> None:
    """Declare the command."""
    parser = add("super-resolve", help="sample a stack finer along Z")
    parser.add_argument("stack", help=STACK_HELP)
    parser.add_argument("output", type=Path, help="*.ome.zarr, *.tif or *.h5")
    parser.add_argument(
        "--model",
        help="folder of a trained model, name of an imported one, bundled (the default), "
        f"bundled/prior, bundled/student, or {', '.join(_BASELINES)} to interpolate",
    )
    parser.add_argument("--factor", type=float, help="axial factor R; default: isotropic voxels")
    parser.add_argument(
        "--z-positions",
        type=Path,
        metavar="TABLE",
        help="text or CSV file with the place of each slice along Z, where they stand at uneven "
        "distances; in nm, or as its header says",
    )
    parser.add_argument(
        "--degradation",
        choices=get_args(DegradationKind),
        help="for interpolation, how slices were measured (default: slice); a model knows",
    )
    parser.add_argument(
        "--keep-measured", action="store_true", help="round R so that every measured slice is kept"
    )
    parser.add_argument(
        "--uncertainty",
        action="store_true",
        help="write *.uncertainty.* beside it: the half-width, in grey levels, of an interval "
        "that holds 90 %% of the errors",
    )
    parser.add_argument(
        "--no-fall-back",
        dest="fall_back",
        action="store_false",
        help="fill gaps that look damaged or missing by the model too",
    )
    parser.add_argument(
        "--engine",
        choices=get_args(Engine),
        help="int8: eight-bit integers, which need the extra [fast]; half: 16-bit floats; "
        "default: auto",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="by torch's compiler: minutes of waiting, for long runs",
    )
    sampling = parser.add_argument_group("diffusion models", "default: as the model's card says")
    sampling.add_argument(
        "--solver", choices=_choices("solver"), help="of IRSDE; reverse_sde is the paper's"
    )
    sampling.add_argument("--steps", type=int, help="of ddim and dpm++")
    sampling.add_argument("--samples", type=int, metavar="N", help="draw N and average them")
    sampling.add_argument(
        "--direction",
        choices=_choices("direction"),
        help="restore XZ or YZ slices alone; default: the mean of both",
    )
    sampling.add_argument(
        "--refine-with",
        type=Path,
        metavar="MODEL",
        help="sharpen the prediction of --model by a few steps of this IRSDE model: a sample",
    )
    cluster = parser.add_argument_group("several processes", "with the extra [cluster]")
    cluster.add_argument(
        "--workers", type=int, metavar="N", help="processes of this machine, or jobs of a cluster"
    )
    cluster.add_argument(
        "--scheduler", metavar="ADDRESS", help="a dask scheduler that runs, such as tcp://node:8786"
    )
    cluster.add_argument("--cluster", choices=["slurm"], help="submit the workers as jobs")
    cluster.add_argument(
        "--site", type=Path, metavar="FILE", help="YAML: queue, cores, memory and so on of a job"
    )
    parser.add_argument("--shard", type=int, help="edge of a unit of work in voxels")
    parser.add_argument(
        "--max-memory", type=positive, dest="max_memory_gb", metavar="GB", help="most to use"
    )
    add_reading(parser, all_channels=True)
    add_roi(parser)
    add_running(parser)
    parser.set_defaults(run=run_super_resolve_command, if_memory_ends="pass a smaller --shard")


def _choices(field: str) -> tuple[str, ...]:
    return get_args(SamplerSettings.model_fields[field].annotation)


def _place_of(
    roi: Box | None, plan: SuperResolvePlan, places: NDArray[np.float64] | None
) -> dict[str, Any]:
    """Where the result of a part stands in the stack, for the file and its provenance.

    ``places`` along Z, in nm, are those of a table.
    """
    from napari_d2r.stages.super_resolve import provenance_of

    if roi is None:
        return {}
    starts = [part.start or 0 for part in roi]
    region = tuple((k, k + n) for k, n in zip(starts, plan.volume.shape, strict=True))
    z, y, x = (k * edge for k, edge in zip(starts, tuple(plan.volume.voxel_size), strict=True))
    return {
        "origin": (z if places is None else float(places[starts[0]]), y, x),
        "provenance": provenance_of(plan).model_copy(update={"region": region}),
    }


def run_super_resolve_command(
    arguments: argparse.Namespace, cancel: CancelToken, reporter: Reporter
) -> Outcome:
    """Super-resolve, or print the plan."""
    from napari_d2r.stages.super_resolve import (
        beside,
        resolve_super_resolve,
        run_super_resolve,
        with_sampler,
    )

    names = ("factor", "degradation", "engine", "shard", "max_memory_gb", "refine_with")
    fields = given(arguments, *names) | {
        "keep_measured": arguments.keep_measured,
        "uncertainty": arguments.uncertainty,
        "fall_back": arguments.fall_back,
        "compile": arguments.compile,
    }
    if arguments.model in _BASELINES and not Path(arguments.model).exists():
        fields["method"] = arguments.model
    else:
        fields["model"] = arguments.model
    whole, places = open_stack(arguments.stack, arguments), None
    stack = part_of(whole, arguments.roi)
    if arguments.z_positions is not None:
        from napari_d2r.io import read_z_table

        table = read_z_table(arguments.z_positions)
        places = axial_positions(table, whole.shape[0])
        fields["z_positions"] = table if arguments.roi is None else table[arguments.roi[0]]
    cluster = {
        "workers": arguments.workers,
        "scheduler": arguments.scheduler,
        "site": arguments.site,
        "kind": arguments.cluster or "local",
    }
    if cluster != {"workers": None, "scheduler": None, "site": None, "kind": "local"}:
        fields["cluster"] = cluster
    job = SuperResolveJob.checked(fields, "super-resolve")
    job = with_sampler(job, only(arguments, "solver", "steps", "samples", "direction"))
    keep = {"resume": arguments.resume, "overwrite": arguments.overwrite}
    plan = resolve_super_resolve(job, stack, arguments.output, **keep)
    report: dict[str, Any] = {
        "output": str(plan.output),
        "shape": list(plan.output_shape),
        "voxel_size_nm": list(plan.voxel_size),
        "factor": plan.grid.factor,
        "shard": list(plan.shard.shape),
        "memory_bytes": plan.memory_bytes,
        "disk_bytes": plan.num_bytes,
        "estimated_seconds": plan.seconds,
        "uncertainty": None if plan.uncertainty is None else str(beside(plan.output)),
        "warnings": list(plan.warnings),
    }
    if arguments.dry_run:
        reporter.print((*plan.lines(), *(f"note: {warning}" for warning in plan.warnings)))
        write_json(arguments.json, report)
        return Outcome.COMPLETED
    part = _place_of(arguments.roi, plan, places)
    outcome, done = drain(run_super_resolve(plan, **keep, **part, cancel=cancel), reporter)
    if outcome is Outcome.COMPLETED:
        rate = f", {done.num_written / done.seconds / 1e6:.2f} million voxels per second"
        reporter.print(
            [
                f"{done.path}: {' x '.join(map(str, done.shape))} voxels of {done.voxel_size}, "
                f"{done.seconds:.1f} s{rate if done.num_written else ''}",
                *([f"{done.uncertainty}: how far it may be off"] if done.uncertainty else []),
            ]
        )
        write_json(arguments.json, report | {"seconds": done.seconds})
    else:
        reporter.say(f"finished shards are kept in {done}; go on with --resume")
    return outcome
