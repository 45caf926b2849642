"""Networks that look: a seeded stand-in, LPIPS with made-up weights, weights that are missing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_d2r.cli import main
from napari_d2r.errors import InputError, ModelFileError
from napari_d2r.metrics import slice_fid
from napari_d2r.perception import LPIPS, RandomFeatures, _load, load_perception
from napari_d2r.samples import make_phantom
from napari_d2r.stages.evaluate import evaluate
from napari_d2r.training._continuity import continuity_loss
from napari_d2r.volumes import Volume, VoxelSize

ISOTROPIC = VoxelSize(10, 10, 10)
SHAPES = ((64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return make_phantom((24, 64, 64))[::5].astype(np.float32) / 255


@pytest.fixture(scope="module")
def weights() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """In the names and shapes of the published files."""
    generator = torch.Generator().manual_seed(0)
    trunk, heads = {}, {}
    for layer, (place, (outputs, inputs, edge)) in enumerate(
        zip((0, 3, 6, 8, 10), SHAPES, strict=True)
    ):
        scale = (2 / (inputs * edge**2)) ** 0.5
        shape = outputs, inputs, edge, edge
        trunk[f"features.{place}.weight"] = torch.randn(shape, generator=generator) * scale
        trunk[f"features.{place}.bias"] = torch.zeros(outputs)
        heads[f"lin{layer}.model.1.weight"] = torch.rand(1, outputs, 1, 1, generator=generator)
    return trunk, heads


def test_random_features_are_the_same_for_one_seed(images) -> None:
    features = RandomFeatures(0)(images)
    assert features.shape == (5, 112)
    np.testing.assert_array_equal(features, RandomFeatures(0)(images))
    assert not np.allclose(features, RandomFeatures(1)(images))


def test_the_stand_in_ranks_blur_and_noise_as_an_eye_does() -> None:
    truth = make_phantom((48, 64, 64)).astype(np.float32)
    see = RandomFeatures()

    def distance(test: np.ndarray) -> float:
        return slice_fid(truth, test, see, low=0, high=255).mean

    soft, softer = (gaussian_filter(truth, sigma) for sigma in (1, 2))
    assert distance(truth) < distance(soft) < distance(softer)
    noise = np.random.default_rng(0).normal(size=truth.shape) * 40
    assert distance(truth) < distance(truth + noise)


def test_lpips_is_the_formula_on_the_layers_of_alexnet(images, weights) -> None:
    trunk, heads = weights
    a, b = images, gaussian_filter(images, (0, 1, 1))

    def layers(batch: np.ndarray) -> list[torch.Tensor]:
        shift = torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)
        x = ((torch.from_numpy(batch)[:, None] * 2 - 1) - shift) / torch.tensor(
            [0.458, 0.448, 0.450]
        ).view(3, 1, 1)
        found = []
        for place, stride, padding in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
            if place in (3, 6):
                x = torch.nn.functional.max_pool2d(x, 3, 2)
            weight, bias = trunk[f"features.{place}.weight"], trunk[f"features.{place}.bias"]
            x = torch.relu(torch.nn.functional.conv2d(x, weight, bias, stride, padding))
            found.append(x)
        return found

    expected = torch.zeros(len(a))
    for k, (p, q) in enumerate(zip(layers(a), layers(b), strict=True)):
        p, q = (torch.nn.functional.normalize(v, dim=1) for v in (p, q))
        weighted = (heads[f"lin{k}.model.1.weight"] * (p - q) ** 2).sum(1)
        expected += weighted.mean((1, 2))
    lpips = LPIPS(trunk, heads)
    np.testing.assert_allclose(lpips(a, b), expected.numpy(), rtol=1e-4)
    np.testing.assert_allclose(lpips(a, a), 0, atol=1e-12)
    tensors = torch.from_numpy(a).requires_grad_(), torch.from_numpy(b)
    found = lpips.loss(*tensors)
    np.testing.assert_allclose(found.detach(), expected.numpy(), rtol=1e-4)
    found.sum().backward()
    assert float(tensors[0].grad.abs().max()) > 0
    with pytest.raises(InputError, match="32 x 32"):
        lpips(a[:, :20], b[:, :20])
    with pytest.raises(ModelFileError, match="not the weights of AlexNet"):
        LPIPS({**trunk, "features.0.weight": torch.zeros(1)}, heads)


class Mean(torch.nn.Module):
    """Looks like the published network: colour images in 0 .. 255, features on request."""

    def forward(self, img: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        if return_features:
            return torch.stack([img.mean(dim=(1, 2, 3)), img.std(dim=(1, 2, 3))], dim=1)
        return img


def publish(folder: Path, monkeypatch) -> None:
    """Whatever is in the folder counts as the published files."""
    for name in ("ALEXNET", "HEADS", "INCEPTION"):
        file = getattr(_load, name)
        if (folder / file.name).is_file():
            found = hashlib.sha256((folder / file.name).read_bytes()).hexdigest()
            monkeypatch.setattr(_load, name, replace(file, sha256=found))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_weights_are_taken_from_a_folder(tmp_path: Path, images, weights, monkeypatch) -> None:
    torch.jit.script(Mean()).save(str(tmp_path / "inception-2015-12-05.pt"))
    publish(tmp_path, monkeypatch)
    only_fid = load_perception(tmp_path)
    assert only_fid.distance is None
    features = only_fid.extract(images)
    np.testing.assert_allclose(features[:, 0], 255 * images.mean((1, 2)), rtol=1e-4)
    for name, part in zip(("alexnet-owt-7be5be79.pth", "alex.pth"), weights, strict=True):
        torch.save(part, tmp_path / name)
    publish(tmp_path, monkeypatch)
    both = load_perception(str(tmp_path))
    assert both.distance(images, images) == pytest.approx(0)
    slices = torch.from_numpy(images)[None, :4]
    steps = both.distance(images[:3], images[1:4])
    expected = steps.mean() + np.abs(steps[:, None] - steps).mean() / (2 * steps.mean())
    loss = continuity_loss(slices, str(tmp_path))
    assert float(loss) == pytest.approx(expected, rel=1e-3)
    assert float(continuity_loss(slices)) != pytest.approx(expected, rel=0.05)
    (tmp_path / "alex.pth").write_bytes(b"no weights")
    publish(tmp_path, monkeypatch)
    with pytest.raises(ModelFileError, match=r"alex\.pth holds no weights"):
        load_perception(tmp_path)


def test_a_file_that_is_not_the_published_one_is_not_opened(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "inception-2015-12-05.pt").write_bytes(b"code")
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(ModelFileError, match="publishes, and was not opened"):
        load_perception(tmp_path)


def test_what_is_missing_is_said_and_how_to_get_it(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(InputError, match=r"inception-2015-12-05\.pt.*https.*random"):
        load_perception(tmp_path)

    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("pooch.retrieve", offline)
    with pytest.raises(InputError, match=r"alexnet.*could not be downloaded.*go online"):
        load_perception("download")


def test_a_download_that_is_another_file_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("NAPARI_D2R_HOME", str(tmp_path))
    monkeypatch.setattr("pooch.HTTPDownloader.__call__", _write_other)
    with pytest.raises(InputError, match="is not the file it should be"):
        load_perception("download")
    assert not list((tmp_path / "cache" / "perception").glob("*.pth"))
    assert len({file.sha256 for file in (_load.ALEXNET, _load.HEADS, _load.INCEPTION)}) == 3


def _write_other(self: object, url: str, output_file: object, pooch: object, **_: object) -> None:
    Path(str(output_file)).write_bytes(b"something else")


def test_an_evaluation_tells_who_looked(tmp_path: Path, phantom_files, capsys) -> None:
    truth = make_phantom((29, 40, 40))
    soft = gaussian_filter(truth, 1.5)
    report = evaluate(
        Volume(soft, ISOTROPIC, "soft"),
        Volume(truth, ISOTROPIC, "truth"),
        factor=4,
        others=[Volume(truth, ISOTROPIC, "same")],
        perception=load_perception("random"),
    )
    _, soft_row, same = (scores.perceptual for scores in report.volumes)
    assert same.slice_fid.planes["XY"] == pytest.approx(0, abs=1e-6)
    assert soft_row.slice_fid.mean > same.slice_fid.mean
    assert "stand-in" in report.table() and "SliceFID" in report.table()
    _, reference = phantom_files
    numbers = tmp_path / "report.json"
    command = ["evaluate", str(reference), str(reference), "--factor", "4"]
    assert main([*command, "--perception", "random", "--json", str(numbers)]) == 0
    seen = json.loads(numbers.read_text())["volumes"][1]["perceptual"]
    assert list(seen) == ["seen_by", "slice_fid", "lpips"]
    assert list(seen["slice_fid"]) == ["XY", "XZ", "YZ", "mean"] and seen["lpips"] is None
    assert main([*command, "--perception", str(tmp_path)]) == 2
    assert "random for a stand-in" in capsys.readouterr().err
