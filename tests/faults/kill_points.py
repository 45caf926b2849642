"""Killed at any step, then begun again with ``--resume``: every byte as if nothing had happened.

python -m tests.faults.kill_points [--points N] [--only WORDS]

A step is whatever changes the disk: a file opened for writing, renamed, deleted, cut or synced,
a folder made or removed. A run that nobody kills counts them. Then a process is ended just before
step 1, another just before step 2, and so on, and those that open a file once more just after, with
the file empty or its last line torn. Each is repeated with ``--resume``, and what lies in its
folder is held against what the uninterrupted run left. Processes are forked from one that has
imported everything and computed nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch._dynamo  # noqa: F401 (the first optimiser imports it, for seconds)

from napari_d2r.cli import main
from napari_d2r.io import save_volume
from napari_d2r.jobs import TrainJob
from napari_d2r.samples import make_phantom
from napari_d2r.stages import _pseudo_hr, _super_resolve_plan, train
from napari_d2r.training import _loop
from napari_d2r.volumes import Volume, VoxelSize

KILLED = 137
_CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
_PATIENCE_S = 300
_TORN = b'{"shard": 0, "by'
Tree = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command, and those that ran before it; ``left`` is how each of these was ended."""

    name: str
    command: str
    before: tuple[str, ...] = ()
    left: str = "whole"  # or "killed", half-way


_TRAIN = "train stack.tif model --job tiny.yaml"
_ZARR = "super-resolve wide.tif out.ome.zarr --model trained --shard 64 --engine torch"
_TIFF = "super-resolve wide.tif out.tif --model trained --shard 64 --engine torch"
_LINEAR = " --model linear --shard 64"
SCENARIOS = (
    Scenario("train", _TRAIN),
    Scenario("train again", f"{_TRAIN} --overwrite", (f"{_TRAIN} --set seed=1",)),
    Scenario("train anew", f"{_TRAIN} --overwrite", (f"{_TRAIN} --set seed=1",), "killed"),
    Scenario("super-resolve", _ZARR),
    Scenario("super-resolve to TIFF", _TIFF),
    Scenario("super-resolve to HDF5", _TIFF.replace("out.tif", "out.h5")),
    Scenario(
        "super-resolve again",
        f"{_ZARR} --overwrite",
        (f"super-resolve wide.tif out.ome.zarr{_LINEAR}",),
    ),
    Scenario(
        "super-resolve anew",
        f"{_ZARR} --overwrite",
        (f"super-resolve wide.tif out.ome.zarr{_LINEAR}",),
        "killed",
    ),
)


class Steps:
    """Counts what changes a folder, and ends the process just before step ``last``."""

    def __init__(self, folder: Path, last: float) -> None:
        self.told: list[str] = []
        self._folder, self._last = folder, last
        self._sync = os.fsync
        os.fsync = self._synced
        sys.addaudithook(self._heard)

    def _synced(self, handle: int) -> None:
        self._step("sync")
        self._sync(handle)

    def _heard(self, event: str, about: tuple[Any, ...]) -> None:
        if event not in _CHANGES or not isinstance(about[0], str | os.PathLike):
            return
        if event == "open" and not about[2] & (os.O_WRONLY | os.O_RDWR):
            return
        path = Path(about[0])
        by_handle = about[-1] > 0 and event in ("os.remove", "os.rmdir")  # of a folder: rmtree
        if not (by_handle or (Path.cwd() / path).is_relative_to(self._folder)):
            return
        self._step(f"{event.removeprefix('os.')} {path.name}")
        if event == "open" and about[2] & (os.O_TRUNC | os.O_APPEND):
            self._step(f"tear {path.name}", lambda: _tear(path, about[2]))

    def _step(self, what: str, at_last: Callable[[], object] = lambda: None) -> None:
        self.told.append(what)
        if len(self.told) == self._last:
            self._last = math.inf
            at_last()
            os._exit(KILLED)


def _tear(path: Path, flags: int) -> None:
    """Open a file as is asked, and write a part of a line if one would be added."""
    handle = os.open(path, flags)
    if flags & os.O_APPEND:
        os.write(handle, _TORN)


def run(command: str, folder: Path, last: float = math.inf) -> tuple[int, list[str], str]:
    """A command in a process of its own: its exit code, its steps, and what it said."""
    log, steps = folder.with_suffix(".log"), folder.with_suffix(".steps")
    steps.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(_PATIENCE_S)
            with log.open("w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            os.chdir(folder)
            counted = Steps(folder, last)
            code = main(command.split())
            steps.write_text(json.dumps(counted.told))
        except BaseException:  # noqa: BLE001 (whatever it is, this process ends here)
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, json.loads(steps.read_text()) if steps.exists() else [], log.read_text()


def tree(folder: Path) -> Tree:
    """All files of a folder, by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def wrong(code: int, said: str, found: Tree, expected: Tree) -> str:
    """What is wrong with a resumed run; nothing, if its result is that of the uninterrupted one.

    A training that was killed once its models stood there may say so, and leave what it was
    deleting.
    """
    was_complete = code == 2 and "is complete" in said
    if code != 0 and not was_complete:
        return f"exit code {code}: {said.strip().splitlines()[-1] if said.strip() else ''}"
    extra = found.keys() - expected.keys()
    if was_complete:
        extra = {name for name in extra if not name.startswith("model/work/")}
    if extra:
        return f"left behind: {sorted(extra)[0]}"
    missing = expected.keys() - found.keys()
    if missing:
        return f"missing: {sorted(missing)[0]}"
    changed = [name for name, blob in expected.items() if found[name] != blob]
    return f"other bytes: {sorted(changed)[0]}" if changed else ""


def trials(
    scenario: Scenario, origin: Path, room: Path, points: int, phase: float
) -> Iterator[tuple[str, str]]:
    """Each step that a run is killed at, and what is wrong with the resumed one."""
    begin = room / "begin"
    shutil.copytree(origin, begin)
    for command in scenario.before:
        code, steps, said = run(command, begin)
        assert code == 0, said
        if scenario.left == "killed":
            shutil.rmtree(begin)
            shutil.copytree(origin, begin)
            assert run(command, begin, len(steps) // 2)[0] == KILLED
    folder = room / "run"  # always the same, for provenance tells where the stack was
    shutil.copytree(begin, folder)
    code, steps, said = run(scenario.command, folder)
    assert code == 0, said
    expected = tree(folder)
    shutil.rmtree(folder)
    points = min(points, len(steps))
    for index in (1 + int(len(steps) * (number + phase) / points) for number in range(points)):
        shutil.copytree(begin, folder)
        code, _, said = run(scenario.command, folder, index)
        fault = "" if code == KILLED else f"it was not killed, but ended with {code}: {said}"
        if not fault:
            code, _, said = run(f"{scenario.command} --resume", folder)
            fault = wrong(code, said, tree(folder), expected)
        yield f"{scenario.name}: step {index} of {len(steps)}, {steps[index - 1]}", fault
        shutil.rmtree(folder)


def prepare(folder: Path) -> None:
    """Stacks, a job and a trained model, and clocks that stand still."""
    learner = {
        "network": {"architecture": "lateral", "options": {"widths": [4, 4], "blocks": [1, 1]}},
        "optimizer": {"max_steps": 2, "batch": 1, "validate_every": 1},
    }
    student = learner | {
        "network": {"architecture": "aenet-fast", "options": {"widths": [4, 4], "blocks": [1, 1]}},
        "crop": 16,
    }
    job = TrainJob.checked(
        {"device": "cpu", "max_minutes": None, "prior": learner | {"columns": 16}}
        | {"student": student}
    )
    (folder / "tiny.yaml").write_text(job.to_yaml())
    size = VoxelSize(40, 10, 10)
    truth = make_phantom((25, 32, 264))
    save_volume(Volume(truth[::8], size.with_upscale(0.5), "wide"), folder / "wide.tif")
    save_volume(Volume(truth[::4, :, :32], size, "stack"), folder / "stack.tif")
    _loop.SAVE_EVERY_S = 0.0  # after every step
    _loop.REPORT_EVERY_S = math.inf
    _pseudo_hr._GAPS_AT_ONCE = 2
    train.CLOCKS = {"wall": lambda: 0.0}  # the time it took stands in the cards
    _super_resolve_plan.measure_rate = lambda *_: 3e6
    code, _, said = run("train stack.tif trained --job tiny.yaml", folder)
    assert code == 0, said


def all_trials(points: int, only: str = "") -> Iterator[tuple[str, str]]:
    """``points`` steps, spread over the scenarios whose names begin so."""
    chosen = [one for one in SCENARIOS if one.name.startswith(only)]
    each = math.ceil(points / len(chosen))
    with tempfile.TemporaryDirectory(prefix="kill-points-") as name:
        room = Path(name).resolve()
        os.environ["NAPARI_D2R_HOME"] = str(room / "home")
        origin = room / "origin"
        origin.mkdir()
        prepare(origin)
        for number, scenario in enumerate(chosen):
            inner = room / str(number)
            inner.mkdir()
            phase = (0.5 + 0.618 * number) % 1  # where few are tried, not all at like places
            yield from trials(scenario, origin, inner, each, phase)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=10_000, help="default: all")
    parser.add_argument("--only", default="", help="scenarios whose names begin so")
    arguments, faults = parser.parse_args(), []
    for where, fault in all_trials(arguments.points, arguments.only):
        faults.append(fault)
        sys.stdout.write(f"{where}: {fault or 'resumed'}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{faults.count('')} of {len(faults)} resumed\n")
    sys.exit(any(faults))
