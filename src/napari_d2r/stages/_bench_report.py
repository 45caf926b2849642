"""The rates of a machine, in words and as plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NetworkRate:
    """Operations per output voxel, and output voxels per second without halo and files.

    ``matmul`` is the FLOP per second of the dense product in the same type.
    """

    name: str
    flops_per_voxel: float
    voxels_per_s: float
    dtype: str
    matmul: float

    @property
    def flops_per_s(self) -> float:
        """What the network makes of the hardware."""
        return self.flops_per_voxel * self.voxels_per_s

    @property
    def share(self) -> float:
        """Of the dense product in the same type."""
        return self.flops_per_s / self.matmul


@dataclass(frozen=True, slots=True)
class SharedEncoder:
    """The same network, depth by depth and all depths at once.

    ``difference_grey`` is the largest between the two results, in levels of 8 bits.
    """

    name: str
    one_by_one_voxels_per_s: float
    at_once_voxels_per_s: float
    difference_grey: float

    @property
    def ratio(self) -> float:
        """How many times faster."""
        return self.at_once_voxels_per_s / self.one_by_one_voxels_per_s


@dataclass(frozen=True, slots=True)
class TrainingRate:
    """A step of stage I as published.

    ``flops`` are its operations and ``seconds`` what it took; ``least_seconds`` is the sum over
    its parts of what the device needs at least, for operations or for memory.
    """

    network: str
    dtype: str
    batch: int
    flops: float
    seconds: float
    least_seconds: float
    flops_per_s_of_matmul: float

    @property
    def share(self) -> float:
        """Operations per second over those of the dense product in the same type."""
        return self.flops / self.seconds / self.flops_per_s_of_matmul

    @property
    def roofline(self) -> float:
        """The share that memory would allow."""
        return self.flops / self.least_seconds / self.flops_per_s_of_matmul


@dataclass(frozen=True, slots=True)
class WholeRun:
    """`super-resolve` with the default model.

    ``device_s`` is for predicting and rounding alone, halos included, ``store_s`` until the last
    voxel is in the store, ``seconds`` for everything, the image pyramid included. ``halo_factor``
    is voxels computed over voxels kept in a large volume, whose shards would be ``shard``.
    """

    shape: tuple[int, int, int]
    shard: tuple[int, int, int]
    engine: str
    halo_factor: float
    device_s: float
    store_s: float
    seconds: float
    writer_voxels_per_s: float

    @property
    def voxels_per_s(self) -> float:
        """Files included."""
        z, y, x = self.shape
        return z * y * x / self.seconds

    @property
    def writer_share(self) -> float:
        """Time that the writer needs for a voxel, over the time that the run takes for it."""
        return self.voxels_per_s / self.writer_voxels_per_s


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What `napari-d2r bench` found. ``matmul`` is FLOP per second by the name of a type."""

    device: str
    threads: int
    torch: str
    matmul: dict[str, float]
    networks: tuple[NetworkRate, ...]
    baseline: str
    shared_encoder: SharedEncoder
    training: TrainingRate
    whole_run: WholeRun

    def rate_of(self, name: str) -> NetworkRate:
        """One row by its name."""
        return next(one for one in self.networks if one.name == name)

    def ratio_of(self, name: str) -> float:
        """Voxels per second over those of the published network run depth by depth."""
        return self.rate_of(name).voxels_per_s / self.rate_of(self.baseline).voxels_per_s

    def table(self) -> str:
        """Markdown, for people and for the documentation."""
        dense = " and ".join(f"{rate / 1e9:.0f} in {name}" for name, rate in self.matmul.items())
        lines = [
            f"{self.device}, {self.threads} threads, torch {self.torch}; "
            f"dense matrix product, GFLOP/s: {dense}.",
            "",
            "| network | kFLOP per voxel | GFLOP/s | share of dense product "
            "| million voxels per second | ratio |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {one.name} | {one.flops_per_voxel / 1e3:.3g} | {one.flops_per_s / 1e9:.3g} "
            f"| {one.share:.0%} of {one.dtype} | {one.voxels_per_s / 1e6:.3g} "
            f"| {self.ratio_of(one.name):.3g} |"
            for one in self.networks
        ]
        shared, step, run = self.shared_encoder, self.training, self.whole_run
        made, shard = (" x ".join(map(str, shape)) for shape in (run.shape, run.shard))
        lines += [
            "",
            f"{shared.name}: {shared.ratio:.2f} times the rate of the same network depth by "
            f"depth; largest difference {shared.difference_grey:.2g} of 255 grey levels.",
            f"A step of stage I as published ({step.network}, {step.batch} crops, {step.dtype}): "
            f"{step.seconds:.3g} s, {step.share:.1%} of the dense product, of which memory allows "
            f"{step.roofline:.1%}.",
            f"super-resolve to {made} voxels with the default model ({run.engine}): "
            f"{run.device_s:.3g} s on the device, {run.store_s:.3g} s into the store, "
            f"{run.seconds:.3g} s in all: {run.voxels_per_s / 1e6:.3g} million voxels per second, "
            f"of whose time the writer needs {run.writer_share:.0%}; halo factor "
            f"{run.halo_factor:.2f} in a large volume (shards of {shard}).",
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """Plain values; the keys are documented with the command line."""
        shared, step, run = self.shared_encoder, self.training, self.whole_run
        return {
            "device": self.device,
            "threads": self.threads,
            "torch": self.torch,
            "matmul_flops_per_s": self.matmul,
            "networks": {
                one.name: {
                    "flops_per_voxel": one.flops_per_voxel,
                    "flops_per_s": one.flops_per_s,
                    "dtype": one.dtype,
                    "share_of_matmul": one.share,
                    "voxels_per_s": one.voxels_per_s,
                    "ratio": self.ratio_of(one.name),
                }
                for one in self.networks
            },
            "baseline": self.baseline,
            "shared_encoder": {
                "ratio": shared.ratio,
                "one_by_one_voxels_per_s": shared.one_by_one_voxels_per_s,
                "at_once_voxels_per_s": shared.at_once_voxels_per_s,
                "difference_grey": shared.difference_grey,
            },
            "training": {
                "network": step.network,
                "dtype": step.dtype,
                "batch": step.batch,
                "flops": step.flops,
                "seconds": step.seconds,
                "share_of_matmul": step.share,
                "share_that_memory_allows": step.roofline,
            },
            "super_resolve": {
                "shape": list(run.shape),
                "shard": list(run.shard),
                "engine": run.engine,
                "device_s": run.device_s,
                "store_s": run.store_s,
                "seconds": run.seconds,
                "voxels_per_s": run.voxels_per_s,
                "halo_factor": run.halo_factor,
                "writer_voxels_per_s": run.writer_voxels_per_s,
                "writer_share": run.writer_share,
            },
        }
