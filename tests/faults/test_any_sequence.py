"""Runs, crashes, damage, mending and changes in any order, held against what must come of them.

Each sequence has up to eight steps. The stack, the store and its journal lie on the disk; what a
run should do is said by a few sets in memory. 25 sequences are tried, always the same; for others,
and more of them, ``NAPARI_D2R_SEQUENCES=1000 pytest tests/faults/test_any_sequence.py``.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from numpy.typing import NDArray

from napari_d2r.errors import DiskFullError, InputError
from napari_d2r.io import Shard, ShardStore, open_volume
from napari_d2r.jobs import BlockWritten, CancelToken, Finished, Outcome, SuperResolveJob
from napari_d2r.stages import _super_resolve_plan
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.stages.verify import VerifyReport, verify_stream
from napari_d2r.volumes import VoxelSize

JOB = SuperResolveJob(method="linear", device="cpu", shard=64)
STACK = np.random.default_rng(0).integers(1, 62, (4, 65, 130)).astype(np.uint8) * 4
STACK[:, :, 128:] = 0  # shards without a file
CHANGED = np.where(STACK > 0, 252 - STACK, 0).astype(np.uint8)
COUNT, EMPTY = 6, frozenset({2, 5})
SIZE = VoxelSize(40, 10, 10)
Put = Callable[..., int]


class KilledError(BaseException):
    """Stands for kill -9: nothing catches it."""


def computed(stack: NDArray[Any]) -> NDArray[Any]:
    """Linear interpolation at a factor of four; of multiples of four it needs no rounding."""
    at = np.arange(13) / 4
    below = np.minimum(at.astype(int), 2)
    share = (at - below)[:, None, None]
    return ((1 - share) * stack[below] + share * stack[below + 1]).astype(np.uint8)


EXPECTED = {False: computed(STACK), True: computed(CHANGED)}  # by whether the stack is changed


class AnySequence(RuleBasedStateMachine):
    """The memory of what was done: nothing in it is read from the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="any-sequence-"))
        self.stack, self.path = self.folder / "stack.npy", self.folder / "out.ome.zarr"
        self.is_changed = False
        np.save(self.stack, STACK)
        # Of the unfinished store: of which stack it is, the shards that are listed, those of them
        # that any run finds damaged by their length, and those that only `verify` finds.
        self.begun_with: bool | None = None
        self.listed: set[int] = set()
        self.short: set[int] = set()
        self.silent: set[int] = set()
        self.finished_of: bool | None = None
        self.finished_damage: set[int] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    # What can be done ---------------------------------------------------------------------------

    @rule(
        count=st.integers(0, COUNT),
        end=st.sampled_from(["", "", "", "cancel", "kill", "kill unlisted", "full", "change"]),
        resume=st.booleans(),
        overwrite=st.booleans(),
    )
    def run(self, count: int, end: str, resume: bool, overwrite: bool) -> None:
        """Begin or go on; ended after ``count`` shards as ``end`` says, if it gets so far."""
        if resume and self.finished_of == self.is_changed and self.begun_with is None:
            before = result_files(self.path)
            assert self.go(resume, overwrite, put=put_that_ends("full", 0)) is Outcome.COMPLETED
            assert result_files(self.path) == before
            self.look_at_result()  # and the debris beside it is gone
            return
        refusal = self.refusal(resume, overwrite)
        if refusal:
            with pytest.raises(InputError, match=refusal):
                self.go(resume, overwrite)
            return
        if not (resume and self.begun_with == self.is_changed):
            self.begun_with = self.is_changed
            self.listed, self.short, self.silent = set(), set(), set()
        waiting = [n for n in range(COUNT) if n not in self.listed - self.short]
        if end in ("cancel", "change"):  # while shard ``count`` is told
            is_ended = 0 < count <= len(waiting)
        else:  # while the one after it is put
            is_ended = end != "" and count < len(waiting)
        if not is_ended:
            assert self.go(resume, overwrite) is Outcome.COMPLETED
            self.finished_of, self.finished_damage = self.is_changed, self.silent
            self.begun_with, self.listed, self.short, self.silent = None, set(), set(), set()
            self.look_at_result()
            return
        if end == "change":
            with pytest.raises(InputError, match="was changed during the run"):
                self.go(resume, overwrite, after=count, then=self.change)
            return  # and nothing of this run is kept
        self.listed |= set(waiting[:count])
        self.short -= set(waiting[:count])
        if end == "cancel":
            cancel = CancelToken()
            ended = self.go(resume, overwrite, cancel, after=count, then=cancel.cancel)
            assert ended is Outcome.CANCELLED
        else:
            with pytest.raises(DiskFullError if end == "full" else KilledError):
                self.go(resume, overwrite, put=put_that_ends(end, count))
        if end == "kill unlisted":  # it stands there, and is what it was
            self.short.discard(waiting[count])

    @rule()
    def change(self) -> None:
        """Another stack in the place of the one that was; done twice, it is put back."""
        self.is_changed = not self.is_changed
        np.save(self.stack, CHANGED if self.is_changed else STACK)

    @precondition(lambda self: self.listed - self.short - EMPTY)
    @rule(data=st.data(), how=st.sampled_from(["cut", "empty", "delete", "flip"]))
    def damage(self, data: st.DataObject, how: str) -> None:
        """Something happens to a shard that is listed."""
        number = data.draw(st.sampled_from(sorted(self.listed - self.short - EMPTY)))
        if how == "flip" and number in self.silent:
            return  # twice is never
        harm(self.file(number, is_finished=False), how)
        self.silent.discard(number)
        (self.silent if how == "flip" else self.short).add(number)

    @precondition(lambda self: self.finished_of is not None)
    @rule(number=st.sampled_from(sorted(set(range(COUNT)) - EMPTY)))
    def damage_result(self, number: int) -> None:
        """Something happens to a shard of a result."""
        if number not in self.finished_damage:
            harm(self.file(number, is_finished=True), "flip")
            self.finished_damage = self.finished_damage | {number}

    @rule(mend=st.booleans())
    def verify(self, mend: bool) -> None:
        """All damage is found, and nothing else; mended, it is computed anew."""
        if self.finished_of is None and self.begun_with is None:
            with pytest.raises(InputError):
                list(verify_stream(self.path, mend=mend))
            return
        is_finished = self.finished_of is not None
        *_, last = verify_stream(self.path, mend=mend)
        report: VerifyReport = last.result
        assert report.is_finished == is_finished
        expected = self.finished_damage if is_finished else self.short | self.silent
        assert {one.file for one in report.damaged} == {self.name(n) for n in expected}
        if mend and not is_finished:
            self.short, self.silent = expected, set()

    @precondition(lambda self: self.begun_with is not None)
    @rule(number=st.integers(0, COUNT - 1))
    def put_elsewhere(self, number: int) -> None:
        """A worker that was thought lost puts its shard, which is the same."""
        store = ShardStore(self.partial)
        shard = store.shards()[number]
        assert self.begun_with is not None
        store.put(shard, EXPECTED[self.begun_with][store.box(shard)])
        self.short.discard(number)
        self.silent.discard(number)

    @rule()
    def run_beside(self) -> None:
        """While another process fills the store, nobody else does."""
        other = psutil.Process().parent()
        assert other is not None
        sign = self.folder / "out.ome.zarr.partial.pid"
        sign.write_text(json.dumps([platform.node(), other.pid, other.create_time()]))
        with pytest.raises(InputError, match="is being filled by another program"):
            self.go(resume=True, overwrite=True)
        sign.unlink()

    @rule()
    def leave_debris(self) -> None:
        """What a process leaves that is killed in the middle of a write."""
        (self.folder / "out.ome.zarr.partial.writing-dead" / "0").mkdir(parents=True, exist_ok=True)
        if self.begun_with is not None:
            (self.partial / "zarr.dead.partial").write_bytes(b"{")
            with (self.folder / "out.ome.zarr.partial.jsonl").open("ab") as journal:
                journal.write(b'{"shard": 4, "by')

    # What must hold always ------------------------------------------------------------------------

    @invariant()
    def what_stands_there(self) -> None:
        """A result appears only when it is whole, and its remains are gone then."""
        assert self.path.is_dir() == (self.finished_of is not None)
        assert self.partial.is_dir() == (self.begun_with is not None)

    # How it is done -------------------------------------------------------------------------------

    @property
    def partial(self) -> Path:
        return self.folder / "out.ome.zarr.partial"

    def name(self, number: int) -> str:
        return f"0/c/0/{number // 3}/{number % 3}"

    def file(self, number: int, *, is_finished: bool) -> Path:
        return (self.path if is_finished else self.partial) / self.name(number)

    def refusal(self, resume: bool, overwrite: bool) -> str:
        """What a run answers that may not begin."""
        if self.finished_of is not None and not overwrite:
            return "exists"
        if self.begun_with is None or overwrite or (resume and self.begun_with == self.is_changed):
            return ""
        if resume:
            return "cannot be resumed"
        return "go on with --resume" if self.listed else ""

    def go(
        self,
        resume: bool,
        overwrite: bool,
        cancel: CancelToken | None = None,
        *,
        put: Put = ShardStore.put,
        after: int = 0,
        then: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Run until it ends; ``then`` is called as shard ``after`` is told."""
        stack = open_volume(self.stack, voxel_size=SIZE)
        plan = resolve_super_resolve(JOB, stack, self.path, resume=resume, overwrite=overwrite)
        told = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ShardStore, "put", put)
            for event in run_super_resolve(plan, resume=resume, overwrite=overwrite, cancel=cancel):
                if isinstance(event, BlockWritten):
                    told += 1
                    if told == after:
                        then()
        assert isinstance(event, Finished)
        return event.outcome

    def look_at_result(self) -> None:
        """Every shard that nobody has damaged is as it should be."""
        store = ShardStore(self.path)
        assert self.finished_of is not None
        for shard in store.shards():
            if shard.index not in self.finished_damage:
                box = store.box(shard)
                np.testing.assert_array_equal(store.array[box], EXPECTED[self.finished_of][box])
        assert sorted(path.name for path in self.folder.iterdir()) == ["out.ome.zarr", "stack.npy"]


def result_files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put_that_ends(how: str, count: int) -> Put:
    """`ShardStore.put` that ends the run at the shard after ``count`` others."""
    real, calls = ShardStore.put, 0

    def put(
        store: ShardStore, shard: Shard, values: NDArray[Any], require_ours: Callable[[], None]
    ) -> int:
        nonlocal calls
        calls += 1
        if calls <= count:
            return real(store, shard, values, require_ours)
        if how == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if how == "kill unlisted":
            real(store, shard, values, require_ours)
        raise KilledError

    return put


def harm(file: Path, how: str) -> None:
    content = bytearray(file.read_bytes())
    content[40] ^= 1
    if how == "delete":
        file.unlink()
    else:
        file.write_bytes({"cut": content[:-5], "empty": b"", "flip": content}[how])


@pytest.fixture(autouse=True)
def known_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare every run the half second that measuring the rate takes."""
    monkeypatch.setattr(_super_resolve_plan, "measure_rate", lambda *_: 3e6)


def test_any_sequence() -> None:
    count = int(os.environ.get("NAPARI_D2R_SEQUENCES", "0"))
    run_state_machine_as_test(
        AnySequence,
        settings=settings(
            max_examples=count or 25,
            stateful_step_count=8,
            derandomize=not count,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
