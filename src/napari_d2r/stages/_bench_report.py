"""The rates of a machine, in words and as plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NetworkRate:
    """Operations per output voxel, and output voxels per second without halo and files."""

    name: str
    flops_per_voxel: float
    voxels_per_s: float

    @property
    def flops_per_s(self) -> float:
        """What the network makes of the hardware."""
        return self.flops_per_voxel * self.voxels_per_s


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
class WholeRun:
    """`super-resolve` with the default model, files included.

    ``halo_factor`` is voxels computed over voxels kept in a large volume, whose shards would
    be ``shard`` here; the run itself is one shard and has no halo.
    """

    shape: tuple[int, int, int]
    shard: tuple[int, int, int]
    engine: str
    halo_factor: float
    voxels_per_s: float
    writer_voxels_per_s: float

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
        peak = self.matmul["float32"]
        lines = [
            f"{self.device}, {self.threads} threads, torch {self.torch}; "
            f"dense matrix product, GFLOP/s: {dense}.",
            "",
            "| network | kFLOP per voxel | GFLOP/s | share of float32 product "
            "| million voxels per second | ratio |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {one.name} | {one.flops_per_voxel / 1e3:.3g} | {one.flops_per_s / 1e9:.3g} "
            f"| {one.flops_per_s / peak:.0%} | {one.voxels_per_s / 1e6:.3g} "
            f"| {self.ratio_of(one.name):.3g} |"
            for one in self.networks
        ]
        shared, run = self.shared_encoder, self.whole_run
        made, shard = (" x ".join(map(str, shape)) for shape in (run.shape, run.shard))
        lines += [
            "",
            f"{shared.name}: {shared.ratio:.2f} times the rate of the same network depth by "
            f"depth; largest difference {shared.difference_grey:.2g} of 255 grey levels.",
            f"super-resolve to {made} voxels with the default model ({run.engine}): "
            f"{run.voxels_per_s / 1e6:.3g} million voxels per second, of whose time the writer "
            f"needs {run.writer_share:.0%}; halo factor {run.halo_factor:.2f} in a large volume "
            f"(shards of {shard}).",
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """Plain values; the keys are documented with the command line."""
        shared, run = self.shared_encoder, self.whole_run
        return {
            "device": self.device,
            "threads": self.threads,
            "torch": self.torch,
            "matmul_flops_per_s": self.matmul,
            "networks": {
                one.name: {
                    "flops_per_voxel": one.flops_per_voxel,
                    "flops_per_s": one.flops_per_s,
                    "share_of_matmul": one.flops_per_s / self.matmul["float32"],
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
            "super_resolve": {
                "shape": list(run.shape),
                "shard": list(run.shard),
                "engine": run.engine,
                "voxels_per_s": run.voxels_per_s,
                "halo_factor": run.halo_factor,
                "writer_voxels_per_s": run.writer_voxels_per_s,
                "writer_share": run.writer_share,
            },
        }
