"""The front door: one function per job, for notebooks, scripts, the command line and the GUI.

Each accepts a path or a `Volume`. Those who want progress pass ``on_event``; those who
want to drive a job themselves use ``resolve_*`` and iterate over ``run_*``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from napari_d2r.checkpoints import remember_model
from napari_d2r.errors import D2RError
from napari_d2r.io import open_volume
from napari_d2r.jobs import (
    CancelToken,
    Event,
    Finished,
    Suite,
    SuperResolveJob,
    TrainJob,
    load_preset,
    load_suite,
)
from napari_d2r.stages.audit import AuditReport, audit_stream
from napari_d2r.stages.bench import BenchReport, bench_stream
from napari_d2r.stages.benchmark import BenchmarkReport, resolve_benchmark, run_benchmark
from napari_d2r.stages.evaluate import EvaluationReport, evaluate_stream
from napari_d2r.stages.fsc import FSCReport, fsc_stream, one_volume_stream
from napari_d2r.stages.gain import GainReport, gain_stream
from napari_d2r.stages.super_resolve import (
    SuperResolved,
    resolve_super_resolve,
    run_super_resolve,
)
from napari_d2r.stages.train import TrainedModels, resolve_train, run_train
from napari_d2r.volumes import Degradation, Volume

Source = str | Path | Volume
OnEvent = Callable[[Event], None]


def train(
    stack: Source,
    folder: str | Path,
    *,
    preset: str = "quick",
    factor: float | None = None,
    max_minutes: float | None = None,
    reference: str | Path | None = None,
    job: TrainJob | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
    cancel: CancelToken | None = None,
) -> TrainedModels:
    """Train on one anisotropic stack, without isotropic ground truth or with it.

    Parameters
    ----------
    stack
        Path or volume of (Z, Y, X) slices, at least 4 along Z, finer laterally.
    folder
        Where the models go.
    preset
        One of `preset_names`; ignored where ``job`` is given.
    factor
        Axial factor r; None makes voxels isotropic.
    max_minutes
        Time budget; None keeps the preset's.
    reference
        Path of an isotropic volume with the pixels of the stack, from which stage III learns
        instead.

    Raises
    ------
    InputError
        When the stack cannot be learned from.
    """
    job = job or load_preset(preset)
    changes = {"factor": factor, "max_minutes": max_minutes, "reference": reference}
    job = TrainJob.checked(job.model_dump() | _given(changes))
    plan = resolve_train(job, as_volume(stack), Path(folder), resume=resume, overwrite=overwrite)
    events = run_train(plan, resume=resume, overwrite=overwrite, cancel=cancel)
    trained: TrainedModels = completed(events, on_event)
    remember_model(trained.folder)
    return trained


def super_resolve(
    stack: Source,
    output: str | Path,
    *,
    model: str | Path | None = None,
    factor: float | None = None,
    z_positions: Sequence[float] | NDArray[Any] | None = None,
    job: SuperResolveJob | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
    cancel: CancelToken | None = None,
) -> SuperResolved:
    """Sample a stack finer along Z, with a trained model or the bundled one.

    Parameters
    ----------
    stack
        Path or volume of (Z, Y, X) slices.
    output
        ``*.ome.zarr``, ``*.tif`` or ``*.h5``.
    model
        Folder of a trained model, or ``"bundled"``, which is used where neither this nor
        ``job`` names another; counts more than the ``method`` of ``job``.
    factor
        Axial factor r, 1.5 to 16; None makes voxels isotropic.
    z_positions
        Where each slice stands along Z, (Z,) in nm, if not at even distances.
    job
        All settings at once, such as ``SuperResolveJob(method="linear")``.

    Raises
    ------
    InputError
        When stack, model or output cannot be used.
    """
    changes = {
        "model": model,
        "method": None if model is None else "model",
        "factor": factor,
        "z_positions": None if z_positions is None else tuple(map(float, z_positions)),
    }
    job = SuperResolveJob.checked((job or SuperResolveJob()).model_dump() | _given(changes))
    plan = resolve_super_resolve(
        job, as_volume(stack), Path(output), resume=resume, overwrite=overwrite
    )
    events = run_super_resolve(plan, resume=resume, overwrite=overwrite, cancel=cancel)
    resolved: SuperResolved = completed(events, on_event)
    return resolved


def evaluate(
    result: Source,
    reference: Source,
    *,
    factor: float,
    controls: bool = False,
    degradation: Degradation | None = None,
    on_event: OnEvent | None = None,
) -> EvaluationReport:
    """Compare a result with the isotropic truth of which every ``factor``-th slice was kept.

    With ``controls``, beside all interpolations, by depth in the gap and with intervals. With a
    ``degradation``, such as ``Degradation("gaussian", sigma=4)``, slices were blurred instead.
    """
    events = evaluate_stream(
        as_volume(result),
        as_volume(reference),
        factor=factor,
        controls=controls,
        degradation=degradation,
    )
    report: EvaluationReport = completed(events, on_event)
    return report


def audit(
    isotropic: Source,
    *,
    drop: int = 8,
    model: str | Path | None = None,
    on_event: OnEvent | None = None,
    cancel: CancelToken | None = None,
) -> AuditReport:
    """Drop slices of an isotropic stack, restore them with a model, and judge the result.

    Without a model, the bundled one. `napari_d2r.figures.draw_audit` draws the page.
    """
    events = audit_stream(
        as_volume(isotropic),
        drop=drop,
        model=None if model is None else Path(model),
        cancel=cancel,
    )
    report: AuditReport = completed(events, on_event)
    return report


def gain(
    stack: Source, model: str | Path | None = None, *, factor: float | None = None
) -> GainReport:
    """What a model gains over linear on a stack without reference, measured slices left out.

    Without a model, the bundled one.
    """
    events = gain_stream(as_volume(stack), None if model is None else Path(model), factor=factor)
    found: GainReport = completed(events)
    return found


def fsc(
    first: Source, second: Source | None = None, *, on_event: OnEvent | None = None
) -> FSCReport:
    """Fourier shell correlation of two volumes of equal shape and voxel size.

    Of one volume alone, which must be measured, not interpolated: of one half of its voxels with
    the other.
    """
    volume = as_volume(first)
    events = one_volume_stream(volume) if second is None else fsc_stream(volume, as_volume(second))
    report: FSCReport = completed(events, on_event)
    return report


def bench(*, quick: bool = False, on_event: OnEvent | None = None) -> BenchReport:
    """What this machine reaches: every network against its dense matrix product.

    Takes a minute or two on two processor cores, ``quick`` half a minute.
    """
    report: BenchReport = completed(bench_stream(quick=quick), on_event)
    return report


def benchmark(
    suite: str | Path | Suite,
    folder: str | Path,
    *,
    volume: Source | None = None,
    only: Sequence[str] = (),
    reference: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
    cancel: CancelToken | None = None,
) -> BenchmarkReport:
    """Train and run the methods of a suite on one isotropic volume, and compare them.

    Tables go to ``folder``; `napari_d2r.figures.draw_benchmark` draws the report.

    Parameters
    ----------
    suite
        A YAML file, the name of a suite that ships, such as ``"cpu"``, or a suite.
    volume
        Path or volume, isotropic; None: the one that the suite names.
    only
        Names of methods; none: all.
    reference
        Another isotropic volume, from which supervised methods learn.

    Raises
    ------
    InputError
        When suite, volume or folder cannot be used.
    """
    chosen = suite if isinstance(suite, Suite) else load_suite(suite)
    truth = None if volume is None else as_volume(volume)
    learned_from = None if reference is None else Path(reference)
    plan = resolve_benchmark(chosen, truth, Path(folder), reference=learned_from, only=only)
    events = run_benchmark(plan, resume=resume, overwrite=overwrite, cancel=cancel)
    report: BenchmarkReport = completed(events, on_event)
    return report


def _given(changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if value is not None}


def as_volume(source: Source) -> Volume:
    """Open a path; pass a volume on."""
    return source if isinstance(source, Volume) else open_volume(source)


def completed(events: Iterator[Event], on_event: OnEvent | None = None) -> Any:
    """Run a job to its end and return its result.

    Raises
    ------
    D2RError
        When the job was cancelled or ran out of time.
    """
    for event in events:
        if on_event is not None:
            on_event(event)
        if isinstance(event, Finished):
            if event.outcome.value != "completed":
                raise D2RError(f"The job did not complete: {event.outcome.value}.")
            return event.result
    raise AssertionError("a job ends with Finished")
