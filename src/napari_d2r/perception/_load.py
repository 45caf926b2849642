"""Weights by path, by download with their hash checked, or none at all."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_d2r.errors import DiskFullError, InputError, ModelFileError
from napari_d2r.metrics import Extractor, Perception
from napari_d2r.perception._lpips import LPIPS
from napari_d2r.perception._random import RandomFeatures

RANDOM, DOWNLOAD = "random", "download"
_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class _File:
    """A file of weights, where it is published, and what it must hash to."""

    name: str
    url: str
    sha256: str


ALEXNET = _File(
    "alexnet-owt-7be5be79.pth",
    "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
)
HEADS = _File(
    "alex.pth",
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/"
    "alex.pth",
    "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
)
INCEPTION = _File(
    "inception-2015-12-05.pt",
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
    "inception-2015-12-05.pt",
    "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
)


def load_perception(where: str | Path) -> Perception:
    """Networks for LPIPS and SliceFID.

    Parameters
    ----------
    where
        ``random``: a seeded stand-in for Inception, no LPIPS. ``download``: the published
        weights, 340 MB, kept for the next time. Else a folder that holds
        ``inception-2015-12-05.pt``, or ``alexnet-owt-7be5be79.pth`` and ``alex.pth``, or all.

    Raises
    ------
    InputError
        When a file is missing, cannot be downloaded, or is not what it should be.
    """
    if str(where) == RANDOM:
        return Perception("random features, a stand-in", RandomFeatures(), None)
    if str(where) == DOWNLOAD:
        paths = {file: _downloaded(file) for file in (ALEXNET, HEADS, INCEPTION)}
    else:
        folder = Path(where)
        every = {file: folder / file.name for file in (ALEXNET, HEADS, INCEPTION)}
        paths = {file: path for file, path in every.items() if path.is_file()}
        for file, path in paths.items():
            _require_published(file, path)
    has_lpips = ALEXNET in paths and HEADS in paths
    if not has_lpips and INCEPTION not in paths:
        raise InputError(
            f"{where} holds neither {INCEPTION.name} (SliceFID, {INCEPTION.url}) nor "
            f"{ALEXNET.name} and {HEADS.name} (LPIPS, {ALEXNET.url} and {HEADS.url}); put them "
            f"there, or pass {DOWNLOAD} where there is a network, or {RANDOM} for a stand-in."
        )
    distance = LPIPS(_weights(paths[ALEXNET]), _weights(paths[HEADS])) if has_lpips else None
    extract = _scripted(paths[INCEPTION]) if INCEPTION in paths else None
    return Perception("Inception and AlexNet", extract, distance)


def _require_published(file: _File, path: Path) -> None:
    """Open nothing but what was published: pickles and TorchScript may hold code."""
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != file.sha256:
        raise ModelFileError(
            f"{path} is not the file that {file.url} publishes, and was not opened; download it "
            f"anew, or pass {RANDOM} for a stand-in."
        )


def _downloaded(file: _File) -> Path:
    import pooch
    from platformdirs import user_cache_path

    home = os.environ.get("NAPARI_D2R_HOME")
    folder = (Path(home) / "cache" if home else user_cache_path("napari-d2r")) / "perception"
    downloader = pooch.HTTPDownloader(progressbar=False, timeout=_TIMEOUT_S)
    try:
        return Path(
            pooch.retrieve(
                file.url, f"sha256:{file.sha256}", file.name, folder, downloader=downloader
            )
        )
    except ValueError as error:
        raise InputError(
            f"{file.name} from {file.url} is not the file it should be and was not kept; try again "
            f"later, or pass {RANDOM} for a stand-in that needs no network."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"{folder} is full; free 340 MB there and try again.") from error
        raise InputError(
            f"{file.name} could not be downloaded from {file.url}; go online, or put it into a "
            f"folder and name that, or pass {RANDOM} for a stand-in that needs no network."
        ) from error


def _weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        found: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelFileError(
            f"{path} holds no weights that can be read; download it anew."
        ) from error
    return found


def _scripted(path: Path) -> Extractor:
    """Features of a TorchScript network of colour images in 0 .. 255."""
    try:
        network: Any = torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as error:
        raise ModelFileError(
            f"{path} is no TorchScript network that can be read; download it anew."
        ) from error
    names = {argument.name for argument in network.forward.schema.arguments}
    options = {"return_features": True} if "return_features" in names else {}

    def extract(images: NDArray[np.float32]) -> NDArray[np.float32]:
        grey = torch.from_numpy(np.ascontiguousarray(images))[:, None] * 255
        with torch.inference_mode():
            features: NDArray[np.float32] = network(grey.expand(-1, 3, -1, -1), **options).numpy()
        return features

    return extract
