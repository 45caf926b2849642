"""The same work as text: a command line, or a few lines of Python."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_d2r.jobs import ClusterSettings, SuperResolveJob
from napari_d2r.volumes import VoxelSize
from napari_d2r.widgets._layers import Box, has_alpha
from napari_d2r.widgets._super_resolve_form import Wish

STACK = "STACK.tif"


def stack_path(layer: Any) -> str:
    """The file that a layer came from; a placeholder for one that has none, or has alpha."""
    path = layer.source.path
    return str(path) if path and Path(path).exists() and not has_alpha(layer) else STACK


def shell_line(words: Sequence[str]) -> str:
    """Words as one line that the shell of this system takes apart again."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def explained(text: str, path: str, layer: Any) -> str:
    """The text under a comment, where the stack is no file yet."""
    if path != STACK:
        return text
    colours = ", in three colours" if layer.rgb else ""
    return (
        f"# {STACK} stands for the layer “{layer.name}”: save it under that name first{colours}.\n"
        f"{text}"
    )


def super_resolve_command(wish: Wish) -> str:
    """What the form would do, as a command."""
    path, job = stack_path(wish.layer), wish.job
    words = ["napari-d2r", "super-resolve", path, _output(wish)]
    words += ["--voxel-size", ",".join(f"{edge:g}" for edge in wish.voxel_size)]
    if wish.layer.rgb:
        words += ["--channel", "all"]
    if wish.box is not None:
        words += ["--roi", ",".join(f"{part.start}:{part.stop}" for part in wish.box)]
    if wish.z_table is not None:
        words += ["--z-positions", str(wish.z_table.path)]
    if job.method != "model":
        words += ["--model", job.method]
    elif job.model is not None:
        words += ["--model", str(job.model)]
    if job.method != "model" and job.degradation != "slice":
        words += ["--degradation", job.degradation]
    if job.refine_with is not None:
        words += ["--refine-with", str(job.refine_with)]
    if job.sampler is not None:
        for name in ("direction", "solver", "steps", "samples"):
            words += [f"--{name}", str(getattr(job.sampler, name))]
    if job.factor is not None:
        words += ["--factor", f"{job.factor:g}"]
    if job.keep_measured:
        words.append("--keep-measured")
    if job.uncertainty:
        words.append("--uncertainty")
    if not job.fall_back:
        words.append("--no-fall-back")
    if job.engine != "auto":
        words += ["--engine", job.engine]
    words += ["--device", job.device, "--seed", str(job.seed)]
    if job.cluster is not None:
        words += _cluster_words(job.cluster)
    return explained(shell_line(words) + "\n", path, wish.layer)


def _cluster_words(cluster: ClusterSettings) -> list[str]:
    if cluster.scheduler is not None:
        return ["--scheduler", cluster.scheduler]
    words = ["--cluster", "slurm"] if cluster.kind == "slurm" else []
    if cluster.site is not None:
        words += ["--site", str(cluster.site)]
    return [*words, "--workers", str(cluster.workers)]


def super_resolve_python(wish: Wish) -> str:
    """What the form would do, in Python."""
    path = stack_path(wish.layer)
    imports = ["from napari_d2r import SuperResolveJob, VoxelSize, open_volume, super_resolve"]
    channel = ", channel='all'" if wish.layer.rgb else ""
    lines = [f"stack = open_volume({path!r}, voxel_size={_edges(wish.voxel_size)}{channel})"]
    if wish.box is not None:
        imports.append("from napari_d2r.volumes import crop")
        lines.append(f"stack = crop(stack, ({_box(wish.box)}))")
    settings = _settings(wish.job)
    if wish.z_table is not None:
        imports[:0] = ["from pathlib import Path", ""]
        imports.append("from napari_d2r.io import read_z_table")
        part = "" if wish.box is None else f"[{wish.box[0].start}:{wish.box[0].stop}]"
        lines.append(f"z = read_z_table(Path({str(wish.z_table.path)!r})){part}")
        settings.append("z_positions=z")
    lines.append(f"job = SuperResolveJob({', '.join(settings)})")
    lines.append(f"super_resolve(stack, {_output(wish)!r}, job=job)")
    if wish.job.cluster is not None:  # processes that are begun read the file again
        lines = ['if __name__ == "__main__":', *(f"    {line}" for line in lines)]
    return explained("\n".join([*imports, "", *lines]) + "\n", path, wish.layer)


def _output(wish: Wish) -> str:
    if wish.save_to is not None:
        return str(wish.save_to)
    stem = re.sub(r"[^\w.-]+", "_", wish.layer.name).strip("_.") or "stack"
    return f"{stem}_super_resolved.ome.zarr"


def _edges(size: VoxelSize) -> str:
    return f"VoxelSize({', '.join(f'{edge:g}' for edge in size)})"


def _box(box: Box) -> str:
    return ", ".join(f"slice({part.start}, {part.stop})" for part in box)


def _settings(job: SuperResolveJob) -> list[str]:
    """The fields that differ from their defaults, without how fast it is shown, and the table."""
    left_out = {"shard_seconds", "z_positions"}
    given = job.model_dump(mode="json", exclude_defaults=True, exclude=left_out)
    return [f"{name}={value!r}" for name, value in given.items()]
