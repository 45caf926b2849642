"""Texts: jobs, suites, files of a cluster's site, events, journals, marks beside files."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

from napari_d2r.cli._options import text_of
from napari_d2r.io import is_filled_elsewhere, is_shown_elsewhere
from napari_d2r.io._journal import Journal
from napari_d2r.io._z_table import read_z_table
from napari_d2r.jobs import (
    BlockWritten,
    ClusterSettings,
    Finished,
    Outcome,
    Progress,
    SamplerSettings,
    SuperResolveJob,
    TrainJob,
    decode,
    encode,
    load_suite,
)
from napari_d2r.stages._benchmark_report import BenchmarkRow
from napari_d2r.stages._cluster import site_options
from napari_d2r.stages._pseudo_hr import SlabFile
from napari_d2r.stages.benchmark import ROW, SPENT, _row_of, _spent
from napari_d2r.volumes import VoxelSize
from tests.fuzz._target import VALUES, Target, begun


def _json(value: object) -> bytes:
    """YAML too, and told by `with_other_values` for what it is."""
    return json.dumps(value, default=str).encode()


def _text(parse: Callable[[str], object]) -> Callable[[bytes, Path], None]:
    def feed(blob: bytes, folder: Path) -> None:
        parse(blob.decode("utf-8", errors="replace"))

    return feed


def _jobs(folder: Path) -> list[bytes]:
    job = SuperResolveJob(cluster=ClusterSettings(), sampler=SamplerSettings())
    return [job.to_yaml().encode(), _json(job.model_dump(mode="json")), b"factor: 3\nmodel: here"]


def _train_jobs(folder: Path) -> list[bytes]:
    fields = TrainJob().model_dump(mode="json")
    return [
        TrainJob().to_yaml().encode(),
        _json(fields),
        b"max_minutes: 3\nprior:\n  columns: 64\n",
    ]


def _job_file(path: Path) -> None:
    SuperResolveJob.from_yaml(text_of(path), path.name)


def _override(text: str) -> None:
    TrainJob().override(text.splitlines()[:5])


def _overrides(folder: Path) -> list[bytes]:
    return [b"max_minutes=3\nprior.optimizer.max_steps=4", b"student=null"]


def _suite(path: Path) -> None:
    suite = load_suite(path)
    suite.only([method.name for method in suite.methods[:2]])
    for case in suite.cases[:2]:
        for method in suite.methods[:4]:
            method.train_job(suite, case, Path("reference.tif"))
            method.super_resolve_job(suite, case)


def _suites(folder: Path) -> list[bytes]:
    rows = [
        {"name": "linear", "baseline": "linear"},
        {"name": "a", "preset": "quick", "supervised": True, "set": {"student.crop": 32}},
        {"name": "b", "model_of": "a", "refine_with": "a", "sampler": {"steps": 3}},
        {"name": "c", "preset": "quick", "blind": True},
    ]
    cases = [{"factor": 4}, {"factor": 2, "degradation": {"kind": "gaussian", "sigma": 4}}]
    return [
        _json({"methods": rows, "cases": cases, "minutes": None, "crop": [8, 8, 8]}),
        b"methods:\n- {name: linear, baseline: linear}\n- {name: quick, preset: quick, "
        b"set: {max_minutes: 2}}\n- {name: fine, model_of: quick}\ncases: [{factor: 4}]\n",
    ]


def _as_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], None]:
    def feed(blob: bytes, folder: Path) -> None:
        path = folder / name
        path.write_bytes(blob)
        read(path)

    return feed


def _sites(folder: Path) -> list[bytes]:
    return [b'queue: gpu\ncores: 4\nmemory: 32 GB\nwalltime: "04:00:00"\n', b""]


def _events(folder: Path) -> list[bytes]:
    told = (
        Progress(1, 2, "shards", eta_s=3.0),
        BlockWritten((0, 0, 0), (1, 2, 3)),
        Finished(Outcome.COMPLETED, {"gain": float("inf")}),
    )
    preview = b'{"event": "Preview", "step": 1, "images": {"a": {"$picture": {"shape": [1, 2], '
    return [*(encode(event).encode() for event in told), preview + b'"grey": "AAE="}}}}']


def _feed_journal(blob: bytes, folder: Path) -> None:
    path = folder / "x.jsonl"
    path.write_bytes(blob)
    journal = Journal.open(path)
    journal.mend()
    assert Journal.open(path).sizes == journal.sizes


def _journals(folder: Path) -> list[bytes]:
    begun(folder / "j.ome.zarr")
    header = (folder / "j.ome.zarr.partial.jsonl").read_bytes()
    return [header, header + b'{"shard": 0, "bytes": 12}\n{"shard": 1, "by']


def _feed_owner(blob: bytes, folder: Path) -> None:
    (folder / "x.partial.pid").write_bytes(blob)
    (folder / "x.shown.1").write_bytes(blob)
    is_filled_elsewhere(folder / "x")
    is_shown_elsewhere(folder / "x")


def _owners(folder: Path) -> list[bytes]:
    here = platform.node()
    return [b'["machine", 17, 1.5]', *(_json([here, number, 1.5]) for number in (1, -1, 2**70))]


def _feed_slabs(blob: bytes, folder: Path) -> None:
    """The mark beside a pseudo-HR volume that says how far it is."""
    path = folder / "slabs.npy"
    if not path.exists():
        SlabFile(path, VALUES.shape, resume=False)
    path.with_suffix(".json").write_bytes(blob)
    assert 0 <= SlabFile(path, VALUES.shape, resume=True).num_done <= VALUES.shape[0]


def _z_tables(folder: Path) -> list[bytes]:
    return [b"0\n40\n85.5\n120\n", b"slice,z_um\n1,0.04\n0,0.0\n2,0.1  # shifted\n"]


def _rows(folder: Path) -> list[bytes]:
    row = BenchmarkRow(case="x8", method="a", outcome="done", folder=folder, identity="same")
    return [row.model_dump_json().encode()]


def _row_of_earlier(file: Path) -> None:
    """What an earlier session of a benchmark left of one method."""
    _row_of(SimpleNamespace(folder=file.parent, identity="same"))  # type: ignore[arg-type]


def _costs(folder: Path) -> list[bytes]:
    return [b'{"processor_s": 1.5, "wall_s": 2.0, "memory_mb": 300}']


def _slabs(folder: Path) -> list[bytes]:
    return [json.dumps({"shape": VALUES.shape, "done": 2, "seconds": 0.5}).encode()]


TEXTS: Mapping[str, Target] = {
    "job": Target(_as_file("job.yaml", _job_file), _jobs),
    "train-job": Target(_text(TrainJob.from_yaml), _train_jobs),
    "set": Target(_text(_override), _overrides),
    "suite": Target(_as_file("suite.yaml", _suite), _suites),
    "site": Target(_as_file("site.yaml", site_options), _sites),
    "voxel-size": Target(_text(VoxelSize.parse), lambda folder: [b"80,10,10", b"8e1, 1e1,1e1"]),
    "event": Target(_text(decode), _events),
    "journal": Target(_feed_journal, _journals),
    "owner": Target(_feed_owner, _owners),
    "z-table": Target(_as_file("z.csv", read_z_table), _z_tables),
    "row": Target(_as_file(ROW, _row_of_earlier), _rows),
    "cost": Target(_as_file(SPENT, lambda path: _spent(path.parent)), _costs),
    "slabs": Target(_feed_slabs, _slabs),
}
