"""SliceFID and LPIPS against torchmetrics: both get the same stand-in for the network."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from napari_d2r.metrics import slice_fid
from napari_d2r.metrics._perceptual import BORDER
from napari_d2r.perception import LPIPS, RandomFeatures, _load
from napari_d2r.samples import make_phantom

fid = pytest.importorskip("torchmetrics.image.fid")
lpips = pytest.importorskip("torchmetrics.functional.image.lpips")


class StandIn(nn.Module):
    num_features = 112

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(RandomFeatures()(images.numpy()))


@pytest.mark.parametrize(("plane", "axis"), [("XY", 0), ("XZ", 1), ("YZ", 2)])
def test_slice_fid_is_that_of_torchmetrics(plane: str, axis: int) -> None:
    truth = make_phantom((48, 56, 64)).astype(np.float32) / 255
    soft = gaussian_filter(truth, (2, 0, 0))
    inner = (slice(BORDER, -BORDER),) * 3
    reference = fid.FrechetInceptionDistance(StandIn(), normalize=True)
    reference.update(torch.from_numpy(truth[inner]), real=True)
    reference.update(torch.from_numpy(np.moveaxis(soft[inner], axis, 0).copy()), real=False)
    found = slice_fid(truth, soft, RandomFeatures(), low=0, high=1).planes[plane]
    assert found == pytest.approx(float(reference.compute()), rel=1e-3)


def test_lpips_is_that_of_torchmetrics_with_the_published_heads(monkeypatch) -> None:
    """The heads come with torchmetrics; AlexNet's weights are random."""
    torch.manual_seed(0)
    pool = nn.MaxPool2d(3, 2)
    alexnet = nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), pool),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), pool),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), pool),
    )
    monkeypatch.setattr(lpips, "_get_tv_model_features", lambda *_, **__: alexnet)
    reference = lpips._LPIPS(net="alex")

    path = Path(inspect.getfile(lpips)).parent / "lpips_models" / "alex.pth"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == _load.HEADS.sha256
    trunk = {f"features.{name}": value for name, value in alexnet.state_dict().items()}
    ours = LPIPS(trunk, _load._weights(path))

    truth = make_phantom((24, 64, 72))[::3].astype(np.float32) / 255
    soft = gaussian_filter(truth, (0, 1, 1))
    colours = (torch.from_numpy(v)[:, None].expand(-1, 3, -1, -1) for v in (truth, soft))
    expected = reference(*colours, normalize=True).flatten().numpy()
    np.testing.assert_allclose(ours(truth, soft), expected, rtol=1e-3)
