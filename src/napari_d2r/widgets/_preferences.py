"""What the user set on napari's preferences page for this plugin."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from napari_d2r.jobs import Device

PLUGIN = "napari-d2r"


@dataclass(frozen=True, slots=True)
class Preferences:
    """Of this computer, not of a job."""

    cache_folder: Path
    device: Device = "auto"
    memory_gb: float = 4.0
    threads: int = 0  # 0: all cores but one
    live_preview: bool = False
    workers: int = 2
    scheduler: str = ""
    site_file: str = ""

    @property
    def num_threads(self) -> int:
        """Threads for networks: one core is left to the viewer unless the user says otherwise."""
        return self.threads or max(1, (os.cpu_count() or 2) - 1)

    @property
    def results_folder(self) -> Path:
        """Where results stay until the user deletes them."""
        return self.cache_folder / "results"

    @property
    def projects_folder(self) -> Path:
        """Where trainings go unless another folder is chosen."""
        return self.cache_folder / "projects"


def preferences() -> Preferences:
    """Read the page again; defaults where napari has no such page."""
    compute, files, viewing, cluster = _stored()
    folder = str(files.get("cache_folder", ""))
    return Preferences(
        device=compute.get("device", "auto"),
        memory_gb=compute.get("memory_gb", 4.0),
        threads=compute.get("threads", 0),
        cache_folder=Path(folder) if folder else _default_cache(),
        live_preview=viewing.get("live_preview", False),
        **cluster,
    )


def _default_cache() -> Path:
    home = os.environ.get("NAPARI_D2R_HOME")
    return Path(home) / "cache" if home else platformdirs.user_cache_path(PLUGIN)


def _stored() -> tuple[dict[str, Any], ...]:
    from napari.settings import get_plugin_settings

    try:
        page = get_plugin_settings(PLUGIN)
    except KeyError:  # the manifest is not registered, as in some tests
        return {}, {}, {}, {}
    groups = ("compute", "files", "viewing", "cluster")
    return tuple(getattr(page, group).model_dump() for group in groups)
