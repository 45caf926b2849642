"""The whole story on a built-in sample: make, adapt, super-resolve, evaluate, draw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from napari_d2r.figures import draw_evaluation
from napari_d2r.io import open_volume, save_volume
from napari_d2r.jobs import (
    CancelToken,
    Event,
    Finished,
    Outcome,
    StageStarted,
    Started,
    SuperResolveJob,
    load_preset,
)
from napari_d2r.samples import phantom_sample
from napari_d2r.stages._passed_on import passed_on
from napari_d2r.stages.evaluate import evaluate_stream
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.stages.train import resolve_train, run_train

FACTOR = 8


def run_demo(
    folder: Path, *, max_minutes: float, say: Callable[[str], None], cancel: CancelToken
) -> Iterator[Event]:
    """Yields the events of every job; ``say`` gets the lines to print at the end.

    ``folder`` is filled with the sample, its truth, the models, the result, a report and a
    figure. What an earlier demo left there is replaced.
    """
    sample, truth, models = folder / "sample.tif", folder / "truth.tif", folder / "model"
    result, report, figure = (
        folder / f"{n}" for n in ("result.ome.zarr", "report.json", "report.png")
    )
    yield Started("demo", folder)
    yield StageStarted("make the sample")
    folder.mkdir(parents=True, exist_ok=True)
    for volume, path in zip(phantom_sample(), (sample, truth), strict=True):
        save_volume(volume, path)
    stack, reference = open_volume(sample), open_volume(truth)

    changes = {"max_minutes": max_minutes, "start_from": Path("bundled")}
    job = load_preset("quick").model_copy(update=changes)
    plan = resolve_train(job, stack, models, overwrite=True)
    ended, _ = yield from passed_on(run_train(plan, overwrite=True, cancel=cancel))
    if ended is not Outcome.COMPLETED:
        yield Finished(ended, folder)
        return
    resolved = resolve_super_resolve(SuperResolveJob(model=models), stack, result, overwrite=True)
    ended, done = yield from passed_on(run_super_resolve(resolved, overwrite=True, cancel=cancel))
    if ended is not Outcome.COMPLETED:
        yield Finished(ended, folder)
        return
    output = open_volume(result)
    _, scores = yield from passed_on(evaluate_stream(output, reference, factor=FACTOR))
    report.write_text(scores.to_json(), "utf-8")
    draw_evaluation(scores, output, reference, figure)
    say(scores.table())
    say(f"figure: {figure}")
    say(f"result: {result} ({done.seconds:.0f} s)")
    yield Finished(Outcome.COMPLETED, folder)
