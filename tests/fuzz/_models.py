"""Models and states of trainings: cards, weights, archives."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from unittest.mock import patch

import torch

from napari_d2r.checkpoints import (
    HaloCard,
    ModelCard,
    ModelIndex,
    export_model,
    import_model,
    import_published,
    known_models,
    load_model,
    save_index,
    save_model,
)
from napari_d2r.jobs import TrainJob
from napari_d2r.models import ConditionalNAFNet, NAFNetConfig, build_network, describe_config
from napari_d2r.training._state import Counters, load_state, save_state
from napari_d2r.volumes import VoxelSize
from tests.checkpoints.test_published import theirs
from tests.fuzz._target import Target

_TINY = {"widths": [4, 4], "blocks": [1, 1]}
_INDEX = b'{"default": "a", "models": ["a"]}'
_LONG = 1_100_000  # bytes, of which no card has so many
_CPU = torch.device("cpu")
_NUM_STORAGES = 80  # of the network in the valid files, and a few more


def model_folder(folder: Path) -> Path:
    """A sound model; made once."""
    model = folder / "model"
    if not (model / "card.json").exists():
        torch.manual_seed(0)
        network = build_network("lateral", _TINY)
        card = ModelCard(
            architecture="lateral",
            options=describe_config(network),
            role="prior",
            gap=8,
            gap_range=(2, 16),
            voxel_size_nm=(80, 10, 10),
            halo=HaloCard(slices=2, lateral=24),
            scores={},
            trained_on="",
            trained_by=TrainJob(),
            seconds=1,
            steps=1,
            package_version="",
        )
        save_model(model, network, card)
    return model


def _feed_weights(blob: bytes, folder: Path) -> None:
    model = model_folder(folder)
    card = json.loads((model / "card.json").read_text("utf-8"))
    card["weights_sha256"] = hashlib.sha256(blob).hexdigest()  # what follows it is reached
    (model / "card.json").write_text(json.dumps(card), "utf-8")
    (model / "weights.safetensors").write_bytes(blob)
    load_model(model)


def _weights(folder: Path) -> list[bytes]:
    return [(model_folder(folder) / "weights.safetensors").read_bytes()]


def _feed_card(blob: bytes, folder: Path) -> None:
    model = model_folder(folder)
    (model / "card.json").write_bytes(blob)
    load_model(model)


def _cards(folder: Path) -> list[bytes]:
    return [(model_folder(folder) / "card.json").read_bytes()]


def _feed_index(blob: bytes, folder: Path) -> None:
    several = folder / "several"
    if not several.exists():
        shutil.copytree(model_folder(folder), several / "prior")
    (several / "models.json").write_bytes(blob)
    load_model(several)


def _indices(folder: Path) -> list[bytes]:
    save_index(folder, ModelIndex(default="prior", models=["prior"]))
    return [(folder / "models.json").read_bytes()]


def _feed_archive(blob: bytes, folder: Path) -> None:
    home = folder / "home"
    shutil.rmtree(home / "models", ignore_errors=True)
    path = folder / "x.zip"
    path.write_bytes(blob)
    with patch.dict(os.environ, NAPARI_D2R_HOME=str(home)):
        import_model(path)


def _archives(folder: Path) -> list[bytes]:
    path = folder / "sound.zip"
    path.unlink(missing_ok=True)
    export_model(model_folder(folder), path)
    return [path.read_bytes()]


def _feed_members(blob: bytes, folder: Path) -> None:
    """Names in an archive of a stranger, a line each; after a tab what is odd about the file."""
    home, model = folder / "home", model_folder(folder)
    shutil.rmtree(home / "models", ignore_errors=True)
    path = folder / "members.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for line in blob.decode("utf-8", errors="replace").splitlines()[:80]:
            name, _, kinds = line.partition("\t")
            info = zipfile.ZipInfo(name[:60])
            if "link" in kinds:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            if "packed" in kinds:
                info.compress_type = zipfile.ZIP_DEFLATED
            sound = model / PurePosixPath(info.filename).name
            content = _INDEX if info.filename.endswith("models.json") else b"a"
            if sound.is_file():
                content = sound.read_bytes()
            archive.writestr(info, bytes(_LONG) if "long" in kinds else content)
            info.flag_bits |= "locked" in kinds
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with patch.dict(os.environ, NAPARI_D2R_HOME=str(home)):
        import_model(path, sha256=digest)
        shutil.rmtree(home / "models")
        unpacked = folder / "unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)
        shutil.unpack_archive(path, unpacked)  # which was found to stay inside
        import_model(unpacked)


def _members(folder: Path) -> list[bytes]:
    return [
        b"card.json\nweights.safetensors\ncard.md",
        b"x/models.json\nx/a/card.json\nx/a/weights.safetensors\n__MACOSX/y",
    ]


def _feed_published(blob: bytes, folder: Path) -> None:
    """The pickle of a ``.pth``, in a zip as torch makes it; bytes of tensors are zeros."""
    path = folder / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", blob)
        archive.writestr("x/byteorder", "little")
        for number in range(_NUM_STORAGES):
            archive.writestr(f"x/data/{number}", bytes(256))
        archive.writestr("x/version", "3\n")
    _import_published(path, folder)


def _publisheds(folder: Path) -> list[bytes]:
    found = []
    for blob in _pths(folder):
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            found.append(archive.read("archive/data.pkl"))
    return found


def _feed_pth(blob: bytes, folder: Path) -> None:
    path = folder / "x.pth"
    path.write_bytes(blob)
    _import_published(path, folder)


def _import_published(path: Path, folder: Path) -> None:
    home = folder / "home"
    shutil.rmtree(home / "models", ignore_errors=True)
    with patch.dict(os.environ, NAPARI_D2R_HOME=str(home)):
        import_published(path, VoxelSize(80, 10, 10))


def _pths(folder: Path) -> list[bytes]:
    """A tiny network under the names of those who published it, with and without blocks."""
    found = []
    for blocks in ((1,), ()):
        config = NAFNetConfig(
            width=2, encoder_blocks=blocks, decoder_blocks=blocks, frozen_pooling=False
        )
        stream = io.BytesIO()
        torch.save(theirs(ConditionalNAFNet(config)), stream)
        found.append(stream.getvalue())
    return found


def _feed_known(blob: bytes, folder: Path) -> None:
    """The list of models that were trained on this machine."""
    (folder / "models.json").write_bytes(blob)
    with patch.dict(os.environ, NAPARI_D2R_HOME=str(folder)):
        known_models()


def _known(folder: Path) -> list[bytes]:
    return [b'{"format_version": 1, "folders": ["/a/model", "b"]}']


def _feed_state(blob: bytes, folder: Path) -> None:
    path = folder / "state.safetensors"
    path.write_bytes(blob)
    load_state(path, "same", _CPU)


def _states(folder: Path) -> list[bytes]:
    path = folder / "state.safetensors"
    save_state(path, Counters("same", step=3), {"weight": torch.zeros(2, 3)})
    return [path.read_bytes()]


MODELS: Mapping[str, Target] = {
    "weights": Target(_feed_weights, _weights),
    "card": Target(_feed_card, _cards),
    "index": Target(_feed_index, _indices),
    "archive": Target(_feed_archive, _archives),
    "members": Target(_feed_members, _members),
    "published": Target(_feed_published, _publisheds),
    "pth": Target(_feed_pth, _pths),
    "known": Target(_feed_known, _known),
    "state": Target(_feed_state, _states),
}
