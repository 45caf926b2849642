"""The bundled model, what comes first, memory that ends, and input that changed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import zarr
from torch import Tensor

from napari_d2r.checkpoints import bundled_model, load_model
from napari_d2r.errors import InputError
from napari_d2r.inference import AxialPredictor, GapRequest
from napari_d2r.jobs import BlockWritten, CancelToken, Event, SuperResolveJob, Warned
from napari_d2r.stages import _super_resolve_plan
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.volumes import Volume, VoxelSize

pytestmark = pytest.mark.usefixtures("known_rate")
ANISOTROPIC = VoxelSize(40, 10, 10)


def level0(path: Path) -> np.ndarray:
    return zarr.open_array(path / "0", mode="r")[:]


def blocks(events: list[Event]) -> list[tuple[int, int, int]]:
    return [event.start for event in events if isinstance(event, BlockWritten)]


class Cramped:
    """Has no memory for slabs of more than so many lateral pixels."""

    def __init__(self, predictor: AxialPredictor, pixels: int) -> None:
        self.predictor, self.pixels, self.halo = predictor, pixels, predictor.halo

    def predict(
        self, slab: Tensor, request: GapRequest, cancel: CancelToken | None = None
    ) -> Tensor:
        if slab[0].numel() > self.pixels:
            raise MemoryError
        return self.predictor.predict(slab, request, cancel)


def test_without_a_model_the_bundled_one_is_used(stack: Volume, tmp_path: Path) -> None:
    job = SuperResolveJob(device="cpu")
    plan = resolve_super_resolve(job, stack, tmp_path / "out.ome.zarr")
    assert "the bundled model learned from FIB-25" in plan.lines()[2]
    list(run_super_resolve(plan))
    written = zarr.open_group(tmp_path / "out.ome.zarr").attrs["napari_d2r"]
    assert written["weights_sha256"] == load_model(bundled_model()).card.weights_sha256
    assert np.array_equal(level0(tmp_path / "out.ome.zarr")[::4], stack.read())
    for role in ("prior", "student"):
        chosen = job.model_copy(update={"model": Path("bundled", role)})
        assert resolve_super_resolve(chosen, stack, tmp_path / "b.zarr").model.card.role == role


def test_what_is_looked_at_comes_first_and_the_bytes_are_the_same(
    wide: Volume, sharded: SuperResolveJob, tmp_path: Path
) -> None:
    orders = {}
    for name, first in (("plain", None), ("near", (16.0, 129.0, 69.0))):
        plan = resolve_super_resolve(sharded, wide, tmp_path / f"{name}.ome.zarr")
        orders[name] = blocks(list(run_super_resolve(plan, first=first)))
    assert orders["near"][:3] == [(0, 128, 64), (0, 64, 64), (0, 128, 0)]
    assert sorted(orders["near"]) == orders["plain"]
    plain, near = (level0(tmp_path / f"{name}.ome.zarr") for name in ("plain", "near"))
    assert np.array_equal(plain, near)


def test_fewer_seconds_make_smaller_shards(job: SuperResolveJob, tmp_path: Path) -> None:
    volume = Volume(np.broadcast_to(np.arange(512, dtype=np.uint8), (64, 512, 512)), ANISOTROPIC)
    sizes = [
        resolve_super_resolve(
            job.model_copy(update={"shard_seconds": seconds}), volume, tmp_path / "out.zarr"
        ).shard.num_voxels
        for seconds in (0.01, 1, 10)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] == 64**3
    assert sizes[0] < sizes[1] <= 3e6 < sizes[2]


def test_out_of_memory_goes_on_in_parts_and_says_so_once(
    wide: Volume, job: SuperResolveJob, tmp_path: Path
) -> None:
    large = job.model_copy(update={"shard": 192})
    values = wide.read().astype(np.float32) / 255
    volume = Volume(np.concatenate([values] * 6), ANISOTROPIC, "two shards")
    results = []
    for name, pixels in (("roomy", 10**9), ("cramped", 120 * 60)):
        plan = resolve_super_resolve(large, volume, tmp_path / f"{name}.ome.zarr")
        plan = dataclasses.replace(plan, predictor=Cramped(plan.predictor, pixels))
        events = list(run_super_resolve(plan))
        assert len(blocks(events)) == 2
        said = [event.message for event in events if isinstance(event, Warned)]
        assert sum("Memory ran out" in message for message in said) == (name == "cramped")
        results.append(level0(tmp_path / f"{name}.ome.zarr"))
    np.testing.assert_allclose(results[1], results[0], atol=0.5 / 255)


def test_a_memory_limit_is_kept_or_refused(job: SuperResolveJob, tmp_path: Path) -> None:
    volume = Volume(np.broadcast_to(np.arange(512, dtype=np.uint8), (64, 512, 512)), ANISOTROPIC)

    def plan(**changes: object) -> _super_resolve_plan.SuperResolvePlan:
        return resolve_super_resolve(job.model_copy(update=changes), volume, tmp_path / "out.zarr")

    free, bounded = plan(shard_seconds=60.0), plan(shard_seconds=60.0, max_memory_gb=0.75)
    assert bounded.memory_bytes <= 0.75e9 < free.memory_bytes
    with pytest.raises(InputError, match=r"0\.1 GB of memory are too few: .* need 0\.8 GB"):
        plan(max_memory_gb=0.1)
    with pytest.raises(InputError, match="choose smaller shards"):
        plan(max_memory_gb=0.75, shard=512)


def test_a_slice_changed_in_the_middle_is_noticed_and_a_resumed_run_counts_its_own_voxels(
    wide: Volume, sharded: SuperResolveJob, tmp_path: Path
) -> None:
    path, cancel = tmp_path / "out.ome.zarr", CancelToken()
    for event in run_super_resolve(resolve_super_resolve(sharded, wide, path), cancel=cancel):
        if isinstance(event, BlockWritten):
            cancel.cancel()
    changed = wide.read().copy()
    changed[3, 100, 40] += 1
    other = Volume(changed, ANISOTROPIC, "wide")
    plan = resolve_super_resolve(sharded, other, path, resume=True)
    assert plan.intensity == resolve_super_resolve(sharded, wide, path, resume=True).intensity
    with pytest.raises(InputError, match="cannot be resumed"):
        list(run_super_resolve(plan, resume=True))
    plan = resolve_super_resolve(sharded, wide, path, resume=True)
    *_, ended = run_super_resolve(plan, resume=True)
    assert ended.result.num_written == 33 * 130 * 70 - 33 * 64 * 64


def test_of_a_huge_volume_a_bounded_part_is_read_for_the_identity(
    wide: Volume, sharded: SuperResolveJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_d2r.stages import _identity

    num_slices, slice_bytes = 40, 130 * 70
    values = np.concatenate([wide.read()] * 5)[:num_slices]
    reads: list[int] = []

    class Recorder:
        shape, dtype = values.shape, values.dtype

        def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
            reads.append(values[key].nbytes)
            return values[key]

    monkeypatch.setattr(_identity, "_HASHED_BYTES", 16 * slice_bytes)
    plan = resolve_super_resolve(sharded, Volume(Recorder(), ANISOTROPIC), tmp_path / "out.zarr")
    reads.clear()
    events = run_super_resolve(plan)
    next(events)
    assert 10 * slice_bytes <= sum(reads) <= 20 * slice_bytes
    events.close()
