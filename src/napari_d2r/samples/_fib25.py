"""A real stack to try things on: FIB-25, fly brain, downloaded once and then kept."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_d2r.errors import DiskFullError, InputError
from napari_d2r.jobs import CancelToken, Finished, Outcome, Progress
from napari_d2r.volumes import Volume, VoxelSize

__all__ = ["FIB25_LICENCE", "FIB25_URL", "fib25_sample", "fib25_stream"]

FIB25_URL = (
    "https://raw.githubusercontent.com/janelia-flyem/neuroproof_examples/"
    "ce839e17deaf4c01153827c6d028dfecfbb4b958/"
)
FIB25_LICENCE = (
    "FIB-25, Drosophila medulla, by the FlyEM team, Janelia Research Campus; licence CC BY 3.0 US "
    "(https://creativecommons.org/licenses/by/3.0/us/), from "
    "https://github.com/janelia-flyem/neuroproof_examples. Only every 8th slice is used here."
)

_VOXEL_SIZE = VoxelSize(80, 10, 10)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TIMEOUT_S = 20


def fib25_sample(*, url: str | None = None, cache: Path | None = None) -> Volume:
    """Every 8th slice of FIB-25 training sample 1, from the cache or from the network.

    Parameters
    ----------
    url
        Where the files lie, instead of ``NAPARI_D2R_FIB25_URL`` or `FIB25_URL`; https,
        unless it is this machine.
    cache
        Folder in which the 1.7 MB are kept, instead of the cache folder of the account.

    Returns
    -------
    Volume
        (32, 250, 250) uint8 of 80 x 10 x 10 nm. Its licence is `FIB25_LICENCE`.

    Raises
    ------
    InputError
        If it cannot be downloaded, or is not what it should be.
    DiskFullError
        If the cache folder is full.
    """
    for event in fib25_stream(url=url, cache=cache):
        if isinstance(event, Finished):
            volume: Volume = event.result
            return volume
    raise AssertionError("a download ends with Finished")


def fib25_stream(
    *, url: str | None = None, cache: Path | None = None, cancel: CancelToken | None = None
) -> Iterator[Progress | Finished]:
    """Do what `fib25_sample` does, telling of every slice.

    Yields
    ------
    Progress
        In slices.
    Finished
        Its result is the volume, or None after a cancel; slices that arrived are kept.
    """
    import pooch

    base = _checked(url or os.environ.get("NAPARI_D2R_FIB25_URL") or FIB25_URL)
    folder = cache if cache is not None else _cache_folder()
    registry = dict(_registry())
    fetcher = pooch.create(path=folder, base_url=base, registry=registry)
    downloader = pooch.HTTPDownloader(progressbar=False, timeout=_TIMEOUT_S)
    planes: list[NDArray[np.uint8]] = []
    for name in registry:
        if cancel:
            yield Finished(Outcome.CANCELLED)
            return
        planes.append(_decoded(_fetched(fetcher, name, downloader, folder)))
        yield Progress(len(planes), len(registry), "slices")
    volume = Volume(np.stack(planes), _VOXEL_SIZE, "FIB-25 (80 nm)", Path(folder))
    yield Finished(Outcome.COMPLETED, volume)


def _fetched(fetcher: Any, name: str, downloader: Any, folder: Path) -> Path:
    """One file, from the cache if its hash is right."""
    host = urlsplit(fetcher.base_url).hostname
    try:
        return Path(fetcher.fetch(name, downloader=downloader))
    except ValueError as error:
        raise InputError(
            f"{Path(name).name} from {host} is not the file it should be and was not kept; try "
            "again later, or open the phantom, which needs no network."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"{folder} is full; free 2 MB there and try again.") from error
        if isinstance(error, PermissionError):
            raise InputError(
                f"{folder} may not be written to; ask for permission, or name another folder in "
                "NAPARI_D2R_HOME."
            ) from error
        raise InputError(
            f"FIB-25 could not be downloaded from {host} ({type(error).__name__}); check the "
            "network, or open the phantom, which needs none."
        ) from error


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise InputError(f"{url} is not an https address; FIB-25 is downloaded by https only.")
    return url if url.endswith("/") else f"{url}/"


def _cache_folder() -> Path:
    from platformdirs import user_cache_path

    home = os.environ.get("NAPARI_D2R_HOME")
    cache = Path(home) / "cache" if home else user_cache_path("napari-d2r")
    return cache / "samples" / "fib25"


def _registry() -> Iterator[tuple[str, str]]:
    text = files("napari_d2r.samples").joinpath("fib25.txt").read_text("utf-8")
    for line in text.splitlines():
        name, digest = line.split()
        yield name, f"sha256:{digest}"


def _decoded(path: Path) -> NDArray[np.uint8]:
    with Image.open(path, formats=["PNG"]) as image:
        return np.asarray(image, np.uint8)
