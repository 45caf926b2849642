"""Methods side by side under one budget: ``napari-d2r benchmark suite.yaml --out folder``."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from napari_d2r.errors import D2RError, DiskFullError, InputError, explain
from napari_d2r.io import export_stream, open_volume, replace_file, save_volume
from napari_d2r.jobs import (
    CancelToken,
    Event,
    Finished,
    Outcome,
    StageStarted,
    Started,
    TrainJob,
    Warned,
)
from napari_d2r.perception import load_perception
from napari_d2r.stages._benchmark_plan import (
    MODEL,
    RESULT,
    STACK,
    SUITE,
    BenchmarkPlan,
    BenchmarkRun,
    resolve_benchmark,
)
from napari_d2r.stages._benchmark_report import BenchmarkReport, BenchmarkRow, needs_controls
from napari_d2r.stages._controls import MISPHASED, control_rows
from napari_d2r.stages._meter import Cost, Meter
from napari_d2r.stages._passed_on import passed_on
from napari_d2r.stages._sampling import with_sampler
from napari_d2r.stages._train_plan import JOB, WORK
from napari_d2r.stages.evaluate import EvaluationReport, evaluate_stream
from napari_d2r.stages.super_resolve import (
    provenance_of,
    resolve_super_resolve,
    run_super_resolve,
)
from napari_d2r.stages.train import resolve_train, run_train
from napari_d2r.volumes import Volume

__all__ = [
    "RESULT",
    "TRUTH",
    "BenchmarkPlan",
    "BenchmarkReport",
    "BenchmarkRow",
    "resolve_benchmark",
    "run_benchmark",
]

TRUTH, ROW, BEGUN, SPENT = "truth.tif", "row.json", "begun", "training.json"
_TOLERANCE = 1.05  # of the budget: the last training step and the judging come on top
logger = logging.getLogger(__name__)


class _Cancelled(Exception):
    """The user wants no more."""


def run_benchmark(
    plan: BenchmarkPlan,
    *,
    resume: bool = False,
    overwrite: bool = False,
    cancel: CancelToken | None = None,
) -> Iterator[Event]:
    """Run every method; ends in ``Finished`` with a `BenchmarkReport`, None when cancelled.

    The tables are written anew after each row. A method that fails is a row that says why.

    Parameters
    ----------
    resume
        Keep rows that are done and were made with the same settings; go on with a training
        that was interrupted.
    overwrite
        Begin anew, whatever is there.

    Raises
    ------
    InputError
        When the folder is taken.
    DiskFullError
        When the disk runs out of room.
    """
    session = _Session(plan, _begin(plan, resume, overwrite), cancel)
    yield Started("benchmark", plan.folder)
    shape = plan.truth.shape
    report = BenchmarkReport(plan.suite, plan.truth.name, shape, plan.device.type, plan.folder, ())
    try:
        with _threads(plan):
            for index, run in enumerate(plan.runs, 1):
                yield StageStarted(run.title, index, len(plan.runs))
                row = _row_of(run)
                if row is None:
                    row = yield from session.attempt(run)
                    _write(run.folder / ROW, row.model_dump_json(indent=2))
                report = replace(report, rows=(*report.rows, row))
                report.save()
    except _Cancelled:
        yield Finished(Outcome.CANCELLED)
    else:
        yield Finished(Outcome.COMPLETED, report)


def _begin(plan: BenchmarkPlan, resume: bool, overwrite: bool) -> dict[str, Volume]:
    """Leave truth, suite and the stack of each case in the folder; returns the stacks."""
    folder = plan.folder
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give the name of a folder for the benchmark.")
    if folder.exists() and any(folder.iterdir()):
        if not (folder / SUITE).is_file():
            raise InputError(f"{folder} holds other things than a benchmark; name a new folder.")
        if not (resume or overwrite):
            raise InputError(f"{folder} is not empty; pass --resume to go on, or --overwrite.")
        if overwrite and not resume:
            for case in plan.suite.cases:
                shutil.rmtree(folder / case.name, ignore_errors=True)
    _write(folder / SUITE, plan.suite.to_yaml())
    save_volume(plan.truth, folder / TRUTH)
    stacks = {case.name: plan.stack(case) for case in plan.suite.cases}
    for name, stack in stacks.items():
        (folder / name).mkdir(exist_ok=True)
        save_volume(stack, folder / name / STACK)
    return stacks


def _row_of(run: BenchmarkRun) -> BenchmarkRow | None:
    """The row of an earlier session, if it is done and would be the same today."""
    try:
        row = BenchmarkRow.model_validate_json((run.folder / ROW).read_text("utf-8"))
    except (OSError, ValueError):  # torn, or of another version
        return None
    is_same = row.outcome == "done" and row.identity == run.identity
    return row if is_same else None


class _Session:
    """What all runs of a benchmark share.

    Raises
    ------
    InputError
        When the networks that the suite names for SliceFID and LPIPS are not there.
    """

    def __init__(
        self, plan: BenchmarkPlan, stacks: Mapping[str, Volume], cancel: CancelToken | None
    ) -> None:
        self.plan, self.stacks, self.cancel, self.device = plan, stacks, cancel, plan.device
        eyes = plan.suite.perception
        self.perception = None if eyes is None else load_perception(eyes)

    def attempt(self, run: BenchmarkRun) -> Generator[Event, None, BenchmarkRow]:
        """The row of a method, whatever becomes of it."""
        row = BenchmarkRow(
            case=run.case.name,
            method=run.method.name,
            outcome="skipped",
            message=run.lacks,
            folder=run.folder,
            identity=run.identity,
        )
        if run.lacks:
            return row
        run.folder.mkdir(exist_ok=True)
        try:
            changes = yield from self._measured(run)
        except (_Cancelled, DiskFullError):
            raise
        except Exception as error:  # one method that fails must not end the others
            logger.warning("%s failed", run.title, exc_info=True)
            yield Warned(f"{run.title}: {explain(error)}")
            changes = {"outcome": "failed", "message": explain(error)}
        return row.model_copy(update=changes)

    def _measured(self, run: BenchmarkRun) -> Generator[Event, None, dict[str, Any]]:
        """Train, super-resolve and evaluate; what goes into the row."""
        if run.train is not None:
            yield from self._trained(run, run.train)
        trained = (run.method.name, *run.method.borrows)
        training = sum((_spent(run.folder.parent / name) for name in trained), Cost())
        output = run.folder / RESULT
        with Meter(self.device) as meter:
            is_sample = yield from self._applied(run, output)
        spent, minutes = (training + meter.cost).seconds(self.device), self.plan.suite.minutes
        scores = yield from self._scores(run, output)
        return {
            "outcome": "done",
            "is_sample": is_sample,
            "over_budget": minutes is not None and spent > 60 * minutes * _TOLERANCE,
            "training": training,
            "applying": meter.cost,
            "scores": scores,
        }

    def _trained(self, run: BenchmarkRun, job: TrainJob) -> Iterator[Event]:
        """A model in the folder of the run; one that is there already, or half there, is used."""
        folder, begun = run.folder / MODEL, run.folder / BEGUN
        is_ours = begun.is_file() and begun.read_bytes() == run.training.encode()
        if is_ours and (folder / JOB).is_file():
            return
        resume = is_ours and (folder / WORK / JOB).is_file()
        so_far, meter = _spent(run.folder) if resume else Cost(), Meter(self.device)
        _write(begun, run.training)
        how = {"resume": resume, "overwrite": not resume}
        try:
            with meter:
                plan = resolve_train(job, self.stacks[run.case.name], folder, **how)
                ended = yield from passed_on(run_train(plan, **how, cancel=self.cancel))
        finally:  # what an interrupted session has spent counts too
            _write(run.folder / SPENT, (so_far + meter.cost).model_dump_json())
        _require_completed(ended)

    def _applied(self, run: BenchmarkRun, output: Path) -> Generator[Event, None, bool]:
        """Leave the result; whether it is a sample."""
        stack = self.stacks[run.case.name]
        if run.method.baseline == "mis-phased":
            values = control_rows(stack.read(), run.case.factor)[MISPHASED]
            result = Volume(values, self.plan.truth.voxel_size, run.method.name)
            deque(export_stream(result, output, "ome-zarr-0.5", overwrite=True), maxlen=0)
            return False
        job = with_sampler(run.super_resolve, run.method.sampler)
        plan = resolve_super_resolve(job, stack, output, overwrite=True)
        events = run_super_resolve(plan, overwrite=True, cancel=self.cancel)
        _require_completed((yield from passed_on(events)))
        return provenance_of(plan).is_sample

    def _scores(self, run: BenchmarkRun, output: Path) -> Generator[Event, None, dict[str, Any]]:
        """The result as ``evaluate --json`` tells it, and what it gains over linear."""
        how = run.case.degradation
        events = evaluate_stream(
            replace(open_volume(output), name=run.method.name),
            self.plan.truth,
            factor=run.case.factor,
            degradation=how.value,
            controls=needs_controls(self.plan.suite) and how.kind != "block",
            perception=self.perception,
        )
        report: EvaluationReport
        _, report = yield from passed_on(self._stoppable(events))
        linear = report.linear
        gains = {
            plane.plane: _gain(plane.psnr_db, linear.plane(plane.plane).psnr_db)
            for plane in report.result.planes
        }
        told: dict[str, Any] = json.loads(report.to_json())
        scores: dict[str, Any] = told["volumes"][1] | {"gain_db": gains}
        if "controls" in told:
            scores["controls"] = told["controls"]["volumes"][1]
        return scores

    def _stoppable(self, events: Iterator[Event]) -> Iterator[Event]:
        """An evaluation does not look at the token itself."""
        for event in events:
            if self.cancel:
                raise _Cancelled
            yield event


def _spent(folder: Path) -> Cost:
    """What the training in a folder has cost so far.

    Raises
    ------
    InputError
        If the file that says so is damaged.
    """
    path = folder / SPENT
    try:
        return Cost.model_validate_json(path.read_bytes()) if path.is_file() else Cost()
    except ValidationError as error:
        raise InputError(
            f"{path} is damaged, so nobody knows what the training cost; delete {folder}, and go "
            "on with --resume."
        ) from error


def _gain(psnr: float, linear: float) -> float | None:
    """In dB; None where either is infinite."""
    return psnr - linear if math.isfinite(psnr) and math.isfinite(linear) else None


def _require_completed(ended: tuple[Outcome, Any]) -> None:
    if ended[0] is Outcome.CANCELLED:
        raise _Cancelled
    if ended[0] is not Outcome.COMPLETED:
        raise D2RError(f"It did not complete: {ended[0].value}.")


@contextmanager
def _threads(plan: BenchmarkPlan) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(plan.suite.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text.encode())
