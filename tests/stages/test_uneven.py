"""Super-resolution of slices at uneven distances, with a table that says where they stand."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from napari_d2r.checkpoints import load_card, save_model
from napari_d2r.errors import InputError
from napari_d2r.io import create_output, open_volume, save_tiff
from napari_d2r.jobs import CancelToken, Provenance, SuperResolveJob
from napari_d2r.models import build_network, describe_config
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.volumes import Volume, VoxelSize

pytestmark = pytest.mark.usefixtures("known_rate")
Z = np.array([0, 40, 100, 130, 190, 240, 270, 320.0])  # nm; 10 nm steps meet all of them


@pytest.fixture
def uneven(wide: Volume) -> Volume:
    return Volume(wide.data[:8, :64, :64], VoxelSize(40, 10, 10), "uneven")


def level0(path: Path) -> np.ndarray:
    return zarr.open_array(path / "0", mode="r")[:]


def plan(uneven: Volume, path: Path, job: SuperResolveJob, **fields: Any):
    fields = {"z_positions": tuple(Z.tolist())} | fields
    return resolve_super_resolve(job.model_copy(update=fields), uneven, path)


def test_gaps_of_real_slices_are_restored_where_they_are(data_dir, tmp_path):
    truth = open_volume(data_dir / "fib25/fib25_training_sample1.tif").read()[:, 60:124, 60:124]
    gaps = np.array([10, 9, 8, 7, 7, 6, 6, 6, 10, 9, 8, 10, 6, 9, 8, 9, 8, 8])
    z = np.concatenate([[0], np.cumsum(gaps)])
    kept = np.arange(z[-1] + 1)

    def psnr(name: str, z: np.ndarray, **fields: Any) -> float:
        asked = SuperResolveJob.checked({"engine": "torch", "device": "cpu"} | fields)
        slices = Volume(truth[z], VoxelSize(80, 10, 10), "real")
        list(run_super_resolve(resolve_super_resolve(asked, slices, tmp_path / name)))
        found = level0(tmp_path / name)
        assert len(found) == len(kept)
        if name != "guessed.zarr":
            np.testing.assert_array_equal(found[z], truth[z])
        new = np.setdiff1d(kept, z)
        return float(-10 * np.log10(np.mean(((found[new] - truth[new] * 1.0) / 255) ** 2)))

    assert gaps.mean() == 8
    told = psnr("told.zarr", z, z_positions=tuple(10.0 * z))
    guessed = psnr("guessed.zarr", z)
    even = psnr("even.zarr", kept[::8])
    assert told > guessed + 2.5
    assert told > even - 0.3


def test_what_is_told_and_what_the_file_knows(uneven, job, tmp_path):
    path = tmp_path / "out.ome.zarr"
    this = plan(uneven, path, job)
    assert this.output_shape == (33, 64, 64)
    assert tuple(this.voxel_size) == pytest.approx((10, 10, 10))
    (told,) = (line for line in this.warnings if "apart" in line)
    assert told.startswith("Slices stand 30 to 60 nm apart, as the table says; 8 of 8 fall")
    list(run_super_resolve(this))
    np.testing.assert_array_equal(level0(path)[(Z / 10).astype(int)], uneven.read())
    facts = Provenance.found_in(zarr.open_group(path).attrs["napari_d2r"])
    assert facts.measured_slices_at == pytest.approx(tuple(Z / 10))
    assert facts.measured_slices_at_multiples_of is None
    assert facts.settings["z_positions"] == Z.tolist()
    assert SuperResolveJob.from_yaml(this.job.to_yaml()) == this.job


def test_slices_between_output_slices_count_where_they_stand(uneven, tmp_path):
    linear = SuperResolveJob(method="linear")
    values = uneven.read()
    between = plan(uneven, tmp_path / "a.zarr", linear, z_positions=(0, 35, *Z[2:]))
    assert any("7 of 8 fall on the output grid" in one for one in between.warnings)
    list(run_super_resolve(between))
    found = level0(tmp_path / "a.zarr")
    expected = values[1] + (values[2] * 1.0 - values[1]) * 5 / 65  # 40 nm, between 35 and 100
    assert np.abs(found[4] - expected).max() <= 0.5 + 1e-3
    with pytest.raises(InputError, match="Only 7 of 8 measured slices"):
        plan(uneven, tmp_path / "b.zarr", linear, z_positions=(0, 35, *Z[2:]), keep_measured=True)


def test_a_hole_is_filled_linearly_and_told(uneven, job, tmp_path):
    z = (*Z[:4], *(Z[4:] + 300))
    this = plan(uneven, tmp_path / "out.zarr", job, z_positions=z)
    assert any("1 of the gaps are wider than 16 pixels" in one for one in this.warnings)
    list(run_super_resolve(this))
    found, values = level0(tmp_path / "out.zarr"), uneven.read()
    share = np.arange(1, 36)[:, None, None] / 36
    linear = values[3] + (values[4] * 1.0 - values[3]) * share
    assert np.abs(found[14:49] - linear).max() <= 0.5 + 1e-3
    facts = Provenance.found_in(zarr.open_group(tmp_path / "out.zarr").attrs["napari_d2r"])
    assert 3 in facts.linear_gaps


def test_a_run_resumes_with_its_table_alone(uneven, sharded, tmp_path):
    path, token = tmp_path / "out.zarr", CancelToken()
    whole = plan(uneven, tmp_path / "whole.zarr", sharded, shard=32)
    list(run_super_resolve(whole))
    for event in run_super_resolve(plan(uneven, path, sharded, shard=32), cancel=token):
        if type(event).__name__ == "BlockWritten":
            token.cancel()
    other = plan(uneven, path, sharded, shard=32, z_positions=(0, 50, *Z[2:]))
    with pytest.raises(InputError, match="overwrite"):
        list(run_super_resolve(other, resume=True))
    list(run_super_resolve(plan(uneven, path, sharded, shard=32), resume=True))
    np.testing.assert_array_equal(level0(path), level0(whole.output))


def test_a_worker_elsewhere_computes_the_same_shards(uneven, job, tmp_path):
    pytest.importorskip("distributed")
    from napari_d2r.stages._shard_task import ShardTask, compute_shard

    file = tmp_path / "uneven.tif"
    save_tiff(
        file, uneven.read(), shape=uneven.shape, dtype=uneven.dtype, voxel_size=uneven.voxel_size
    )
    here = plan(open_volume(file), tmp_path / "here.zarr", job)
    list(run_super_resolve(here))
    output = create_output(
        tmp_path / "there.zarr",
        shape=here.output_shape,
        dtype=uneven.dtype,
        voxel_size=here.voxel_size,
        identity="",
        shard=here.shard.shape,
        chunk=64,
    )
    task = pickle.loads(pickle.dumps(ShardTask.of(here, (), output)))
    for shard in output.shards():
        output.note(shard, compute_shard(task, shard, output.sources(shard))[0])
    there = np.stack(list(output.slices()))
    output.release()
    np.testing.assert_array_equal(there, level0(here.output))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"z_positions": (0.0, 40.0)}, "2 positions along Z and the stack 8 slices"),
        ({"z_positions": tuple(Z / 10)}, "nothing to do"),
        ({"uncertainty": True}, "Half-widths cannot be told"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(uneven, job, tmp_path, fields, told):
    with pytest.raises(InputError, match=told):
        plan(uneven, tmp_path / "out.zarr", job, **fields)


def test_a_table_in_another_unit_is_noticed(uneven, job, tmp_path):
    this = plan(uneven, tmp_path / "out.zarr", job, z_positions=tuple(Z * 3))
    assert any("so check its unit" in one for one in this.warnings)


def test_a_network_for_even_gaps_alone_refuses_a_table(uneven, tiny_model, tmp_path):
    network = build_network("srunet", {"factor": 4, "widths": [3, 4, 4]})
    card, _ = load_card(tiny_model / "student")
    facts = {"architecture": "srunet", "options": describe_config(network)}
    save_model(tmp_path / "blocks", network, card.model_copy(update=facts))
    job = SuperResolveJob(model=tmp_path / "blocks", device="cpu")
    with pytest.raises(InputError, match=r"at even distances only; with a table .* aenet-fast"):
        plan(uneven, tmp_path / "out.zarr", job)


def test_wide_gaps_are_told(uneven, job, tmp_path):
    this = plan(uneven, tmp_path / "out.zarr", job, z_positions=(*Z[:-1], 400.0))
    assert any("up to 13 pixels wide, but the model has practised" in one for one in this.warnings)
