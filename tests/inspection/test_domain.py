"""What a model knows, and what is unlike it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_d2r.errors import InputError
from napari_d2r.inspection import TrainingDomain, compare_with_domain, describe_domain
from napari_d2r.inspection._look import PERIODS, look_at
from napari_d2r.io import open_volume
from napari_d2r.samples import make_phantom
from napari_d2r.volumes import IntensityRange, Volume, VoxelSize

SIZE = VoxelSize(80, 10, 10)
Values = NDArray[np.float32]
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def tissue() -> Values:
    """A phantom in unit intensity, read only."""
    values = make_phantom((24, 128, 128)).astype(np.float32)
    return IntensityRange.of(Volume(values, SIZE)).to_unit(values)


def told(values: Values, domain: TrainingDomain, size: VoxelSize = SIZE) -> dict[str, str]:
    """Severity and sentence by kind, without ``unlike-``."""
    found = compare_with_domain(Volume(values, size), domain)
    return {one.kind.removeprefix("unlike-"): f"{one.severity}: {one}" for one in found}


def test_numbers_of_white_noise_are_those_of_theory() -> None:
    noise = RNG.normal(0.5, 0.1, (6, 256, 256)).astype(np.float32)
    look = look_at(Volume(noise, SIZE), IntensityRange(0, 1))
    assert look.noise_sigma == pytest.approx(0.1, rel=0.05)
    assert look.power.mean(0) == pytest.approx(0.01, rel=0.2)
    assert look.quantiles.mean(0)[[1, 3, 5]] == pytest.approx([0.3355, 0.5, 0.6645], abs=0.005)


def test_a_wave_has_its_power_at_its_period() -> None:
    x = np.arange(256)
    wave = np.broadcast_to(0.5 + 0.4 * np.sin(2 * np.pi * x / 9.5), (6, 256, 256))
    power = look_at(Volume(wave.astype(np.float32), SIZE), IntensityRange(0, 1)).power
    assert PERIODS[int(power[0].argmax())] == 9.51


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda u: gaussian_filter(u, (0, 2, 2)), "spectrum", "less power"),
        (lambda u: u + RNG.normal(0, 0.2, u.shape), "noise", "more noise"),
        (lambda u: u**3, "grey-values", "% of the voxels lie below"),
    ],
)
def test_what_was_changed_is_named(
    tissue: Values, change: Callable[[Values], Values], kind: str, words: str
) -> None:
    domain = describe_domain([Volume(tissue, SIZE)])
    changed = change(tissue).astype(np.float32)
    assert told(tissue, domain) == {}
    found = told(changed, domain)
    assert found[kind].startswith("warning: ")
    assert words in found[kind]
    learned = describe_domain([Volume(tissue, SIZE), Volume(changed, SIZE)])
    assert told(changed, learned) == {}  # what training changed is known


@pytest.mark.parametrize(
    ("pixel", "words"),
    [
        (10, None),
        (12, None),
        (20, "note: Pixels are 20 nm wide, 2 times larger"),
        (500, "warning: Pixels are 500 nm wide, 50 times larger"),
        (2, "warning: Pixels are 2 nm wide, 5 times smaller"),
    ],
)
def test_pixels_of_another_size(tissue: Values, pixel: float, words: str | None) -> None:
    domain = describe_domain([Volume(tissue, SIZE)])
    found = told(tissue, domain, VoxelSize(80, pixel, pixel)).get("pixel")
    assert found is None if words is None else found.startswith(words)


def test_grey_levels_do_not_matter_and_json_keeps_all(tissue: Values) -> None:
    domain = describe_domain([Volume(tissue, SIZE)])
    again = TrainingDomain.model_validate_json(domain.model_dump_json())
    assert again == domain
    stored = np.clip(tissue * 30000 + 5000, 0, 65535).astype(np.uint16)
    assert told(stored, again) == {}


def test_empty_slices_do_not_widen_what_is_known(tissue: Values) -> None:
    holed = tissue.copy()
    holed[[0, -1]] = 0
    assert describe_domain([Volume(holed, SIZE)]).power_db[-1].low > -80


def test_small_slices_tell_what_they_can(tissue: Values) -> None:
    domain = describe_domain([Volume(tissue[:, :20, :20], SIZE)])
    assert 0 < len(domain.power_db) < len(PERIODS)
    assert compare_with_domain(Volume(tissue, SIZE), domain) is not None
    assert compare_with_domain(Volume(tissue[:, :4], SIZE), domain) == ()
    with pytest.raises(InputError, match="too small to be judged"):
        look_at(Volume(tissue[:, :4], SIZE))
    with pytest.raises(InputError, match="nothing to describe"):
        describe_domain([])


@pytest.mark.parametrize(
    ("path", "size", "noted", "warned"),
    [
        ("fib25/fib25_training_sample2.tif", (80, 10, 10), set(), set()),
        ("epfl/epfl_train_crop.tif", (40, 5, 5), {"pixel", "noise", "spectrum"}, set()),
        ("vnc_sstem/vnc_stack2_crop.tif", (47.5, 4.6, 4.6), {"pixel"}, {"spectrum"}),
        (
            "light/xyz_8bit__nuclei_autothresh.tif",
            (4000, 830, 830),
            {"noise"},
            {"pixel", "grey-values", "spectrum"},
        ),
    ],
)
def test_real_volumes_beside_fib25(
    data_dir: Path, path: str, size: tuple[float, ...], noted: set[str], warned: set[str]
) -> None:
    known = open_volume(data_dir / "fib25/fib25_training_sample1.tif")
    volume = open_volume(data_dir / path, voxel_size=VoxelSize(*size))
    domain = describe_domain([known])
    began = process_time()
    found = compare_with_domain(volume, domain)
    assert process_time() - began < 1
    kinds = {
        severity: {one.kind.removeprefix("unlike-") for one in found if one.severity == severity}
        for severity in ("note", "warning")
    }
    assert kinds == {"note": noted, "warning": warned}
