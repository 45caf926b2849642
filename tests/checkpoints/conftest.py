"""A small model folder, and an empty memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from napari_d2r.checkpoints import HaloCard, ModelCard, ModelIndex, save_index, save_model
from napari_d2r.models import build_network, describe_config

_OPTIONS = {"widths": [6, 8], "blocks": [1, 1]}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty memory."""
    monkeypatch.setenv("NAPARI_D2R_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A folder with a prior and a student of random weights; the student is the default."""
    folder = tmp_path / "pair"
    torch.manual_seed(0)
    for role, architecture in (("prior", "lateral"), ("student", "aenet-fast")):
        network = build_network(architecture, _OPTIONS)
        card = ModelCard(
            architecture=architecture,
            options=describe_config(network),
            role=role,
            gap=8,
            gap_range=(2, 16),
            voxel_size_nm=(80, 10, 10),
            halo=HaloCard(slices=2, lateral=24),
            scores={"leave-one-out": 1.25},
            trained_on="stack.tif",
            trained_by=None,
            seconds=12.5,
            steps=40,
            package_version="0.1.0",
        )
        save_model(folder / role, network, card)
    save_index(folder, ModelIndex(default="student", models=["prior", "student"]))
    return folder
