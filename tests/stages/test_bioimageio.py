"""Packages for bioimage.io: sound, and run by torch and numpy alone."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from napari_d2r.checkpoints import (
    HaloCard,
    ModelCard,
    export_model,
    import_model,
    load_model,
    save_card,
    save_model,
)
from napari_d2r.errors import InputError, ModelFileError
from napari_d2r.inference import GapRequest, predictor_of
from napari_d2r.jobs import DegradationSettings, TrainJob
from napari_d2r.models import build_network, describe_config
from napari_d2r.stages.bioimageio import export_bioimageio

TINY = {
    "aenet-fast": {"widths": [6, 8], "blocks": [1, 1]},
    "aenet": {"width": 4},
    "lateral": {"widths": [6, 8], "blocks": [1, 1]},
    "nafnet": {"width": 8, "encoder_blocks": [1], "decoder_blocks": [1]},
}
LATERAL = ("lateral", "nafnet")


def model(folder: Path, architecture: str, **facts: Any) -> Path:
    torch.manual_seed(0)
    network = build_network(architecture, TINY[architecture])
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    card = ModelCard(
        architecture=architecture,
        options=describe_config(network),
        role="prior" if architecture in LATERAL else "student",
        gap=4.2,
        gap_range=(2, 8),
        voxel_size_nm=(42, 10, 10),
        halo=HaloCard(slices=2, lateral=9),
        scores={},
        trained_on="stack: a, b",
        trained_by=None,
        seconds=12.5,
        steps=40,
        package_version="0.1.0",
        licence="CC-BY-4.0",
        attribution="Learned from the stack of Ada.",
    )
    save_model(folder, network, card.model_copy(update=facts))
    return folder


def package(tmp_path: Path, architecture: str, **options: Any) -> Path:
    target = tmp_path / f"{architecture}.zip"
    digest = export_bioimageio(model(tmp_path / architecture, architecture), target, **options)
    assert digest == hashlib.sha256(target.read_bytes()).hexdigest()
    return target


def unpacked(target: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name) for name in archive.namelist()}
    return yaml.safe_load(files["rdf.yaml"]), files


# All that a stranger has: torch, numpy, yaml, and what a package says of itself.
STRANGER = """
import io, sys, zipfile, numpy as np, torch, yaml
for path in sys.argv[1:]:
    files = zipfile.ZipFile(path)
    said = yaml.safe_load(files.read("rdf.yaml"))
    (given,), (wanted,) = said["inputs"], said["outputs"]
    load = lambda one: np.load(io.BytesIO(files.read(one["test_tensor"]["source"])))
    grey = load(given)
    (step,) = given["preprocessing"]
    how = step["kwargs"]
    names = [axis.get("id", axis["type"]) for axis in given["axes"]]
    axes = tuple(names.index(name) for name in how["axes"])
    low, high = (np.percentile(grey, how[f"{end}_percentile"], axis=axes, keepdims=True)
                 for end in ("min", "max"))
    unit = ((grey - low) / (high - low + how["eps"])).astype("float32")
    weights = files.read(said["weights"]["torchscript"]["source"])
    network = torch.jit.load(io.BytesIO(weights))
    with torch.no_grad():
        found = network(torch.from_numpy(unit)).numpy()
    print(float(np.abs(found - load(wanted)).max()), float(np.ptp(found)))
assert not any(name.startswith("napari_d2r") for name in sys.modules)
"""


def test_a_stranger_gets_the_same(tmp_path: Path) -> None:
    packages = [str(package(tmp_path, name)) for name in ("aenet-fast", "lateral")]
    command = [sys.executable, "-W", "ignore", "-c", STRANGER, *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        difference, spread = map(float, line.split())
        assert difference < 1e-5
        assert spread > 0.5
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("architecture", ["aenet-fast", "aenet", "lateral"])
def test_it_does_what_the_predictor_does(tmp_path: Path, architecture: str) -> None:
    target = package(tmp_path, architecture, factor=3)
    network = torch.jit.load(io.BytesIO(unpacked(target)[1]["weights.pt"]))
    slab = torch.rand((6, 33, 41), generator=torch.Generator().manual_seed(2))
    depths = torch.tensor([[1 / 3, 2 / 3]])
    predictor = predictor_of(load_model(tmp_path / architecture))
    with torch.no_grad():
        if architecture in LATERAL:
            request = GapRequest(0, depths.expand(5, -1), round(float(np.log2(3)), 6))
            wanted = predictor.restore(slab.movedim(1, 0), request)
            found = network(slab.movedim(1, 0))
            torch.testing.assert_close(found[:, ::3], slab.movedim(1, 0))
            between = found[:, :-1].unflatten(1, (5, 3))[:, :, 1:]
            torch.testing.assert_close(between, wanted, rtol=1e-4, atol=1e-5)
        else:
            request = GapRequest(2, depths, round(float(np.log2(3)), 6))
            wanted = predictor.predict(slab, request)
            found = network(slab[None, 1:5])
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_axes_tell_the_contract(tmp_path: Path) -> None:
    said, files = unpacked(package(tmp_path, "aenet-fast"))
    given, wanted = said["inputs"][0], said["outputs"][0]
    z, y, x = given["axes"][1:]
    finer, rows, columns = wanted["axes"][1:]
    assert (z["size"], z["scale"], z["unit"]) == (4, 40, "nanometer")  # the gap, rounded to 4
    assert (finer["size"], finer["scale"]) == (3, 10)
    assert (y["scale"], x["scale"], rows["scale"], columns["scale"]) == (10, 10, 10, 10)
    assert rows["size"] == {"tensor_id": "slices", "axis_id": "y"}
    assert (y["size"], rows["halo"]) == ({"min": 28, "step": 4}, 12)  # 9, up to whole strides
    shapes = [np.load(io.BytesIO(files[f"test-{end}put.npy"])).shape for end in ("in", "out")]
    assert shapes == [(1, 4, 28, 36), (1, 3, 28, 36)]
    assert said["license"] == "CC-BY-4.0"
    assert said["authors"] == [{"name": "The napari-d2r developers"}]
    assert said["cite"][0]["doi"] == "10.48550/arXiv.2411.16792"
    text = files["README.md"].decode()
    assert text.count("\n## ") == 11  # nine sections of the card, the package, validation
    assert "Learned from the stack of Ada." in text
    assert "the 3 slices between j and j + 1 out" in text


def test_rows_tell_theirs(tmp_path: Path) -> None:
    said, files = unpacked(package(tmp_path, "lateral", factor=3))
    finer = said["outputs"][0]["axes"][1]
    assert finer["size"] == {"tensor_id": "slices", "axis_id": "z", "offset": -2}
    assert said["inputs"][0]["axes"][1]["scale"] == 3 * finer["scale"]
    shapes = [np.load(io.BytesIO(files[f"test-{end}put.npy"])).shape for end in ("in", "out")]
    assert shapes[0][1:] == (9, shapes[0][2])
    assert shapes[1][1:] == (25, shapes[0][2])


# In a process of its own: the library leaves files open.
VALIDATE = """
import sys, bioimageio.spec as spec
for path in sys.argv[1:]:
    found = spec.load_description(path, perform_io_checks=True)
    assert not isinstance(found, spec.InvalidDescr), found.validation_summary.format()
    print(found.type)
"""


def test_the_specification_is_met(tmp_path: Path) -> None:
    """By the library of bioimage.io, test tensors and hashes included."""
    pytest.importorskip("bioimageio")
    packages = [
        str(package(tmp_path, "aenet-fast", factor=2)),
        str(package(tmp_path, "lateral", factor=7)),
    ]
    command = [sys.executable, "-W", "ignore", "-c", VALIDATE, *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["model", "model"]


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", "aenet-fast")
    target = tmp_path / "out.zip"
    with pytest.raises(InputError, match="answers in one pass, and nafnet does not"):
        export_bioimageio(model(tmp_path / "d", "nafnet"), target)
    blurred = model(tmp_path / "b", "lateral", degradation=DegradationSettings(kind="gaussian"))
    with pytest.raises(InputError, match="restores blurred slices too"):
        export_bioimageio(blurred, target)
    for factor in (1, 17):
        with pytest.raises(InputError, match="a whole number from 2 to 16"):
            export_bioimageio(folder, target, factor=factor)
    card = load_model(folder).card
    save_card(folder, card.model_copy(update={"gap_range": (3, 6)}))
    with pytest.raises(InputError, match="practised gaps of 3 to 6 lateral voxels"):
        export_bioimageio(folder, target, factor=8)
    save_card(folder, card.model_copy(update={"licence": "ask Ada"}))
    with pytest.raises(InputError, match=r"pass one, such as --licence CC-BY-4\.0"):
        export_bioimageio(folder, target)
    save_card(folder, card.model_copy(update={"trained_by": TrainJob()}))
    with pytest.raises(InputError, match="pass --author"):
        export_bioimageio(folder, target)
    assert not target.exists()
    export_bioimageio(folder, target, authors=["Ada", "Bo"], licence="MIT")
    said, _ = unpacked(target)
    assert (said["authors"], said["license"]) == ([{"name": "Ada"}, {"name": "Bo"}], "MIT")
    with pytest.raises(InputError, match=r"out\.zip exists"):
        export_bioimageio(folder, target)


def test_it_is_no_model_file_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_D2R_HOME", str(tmp_path / "home"))
    with pytest.raises(ModelFileError, match=r"does not belong to a model|is a pickle"):
        import_model(package(tmp_path, "aenet-fast"))
    export_model(tmp_path / "aenet-fast", tmp_path / "ours.zip")
    import_model(tmp_path / "ours.zip")
