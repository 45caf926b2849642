"""FSC against a plain loop over shells, and against spectra whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_d2r.errors import InputError
from napari_d2r.metrics import (
    Cone,
    FSCCurve,
    fourier_ring_correlation,
    fourier_shell_correlation,
    resolution_curve_steps,
    resolution_curves,
)
from napari_d2r.metrics import _shells as fsc_module
from napari_d2r.volumes import VoxelSize

CUBIC = VoxelSize(10, 10, 10)


def loop_over_shells(a, b, voxel, *, hann=False, keep=None) -> tuple[np.ndarray, np.ndarray]:
    """The definition, over the full complex spectrum, one shell after another."""
    a, b = a - a.mean(), b - b.mean()
    if hann:
        for axis, n in enumerate(a.shape):
            taper = np.expand_dims(np.hanning(n), [k for k in range(3) if k != axis])
            a, b = a * taper, b * taper
    fa, fb = np.fft.fftn(a), np.fft.fftn(b)
    q = np.meshgrid(*(np.fft.fftfreq(n, v) for n, v in zip(a.shape, voxel, strict=True)),
                    indexing="ij")  # fmt: skip
    radius = np.sqrt(sum(k * k for k in q))
    width = 1 / min(n * v for n, v in zip(a.shape, voxel, strict=True))
    last = math.floor(0.5 / max(voxel) / width + 1e-9)
    inside = np.ones(a.shape, bool) if keep is None else keep(q, radius)
    curve, count = [], []
    for shell in range(1, last + 1):
        # Rounded, because shells of unequal edges share borders that floats miss.
        chosen = inside & (np.floor(np.round(radius / width, 9) + 0.5) == shell)
        x, y = fa[chosen], fb[chosen]
        curve.append(np.sum(x * y.conj()).real / np.sqrt(np.sum(abs(x) ** 2) * np.sum(abs(y) ** 2)))
        count.append(chosen.sum())
    return np.array(curve), np.array(count)


def volumes(shape, sigma=(1.5, 0, 0)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    a = rng.standard_normal(shape)
    return a, gaussian_filter(a, sigma) + 0.1 * rng.standard_normal(shape)


@pytest.mark.parametrize("shape", [(20, 20, 20), (21, 21, 21), (19, 20, 22), (22, 20, 21)])
@pytest.mark.parametrize("window", [None, "hann"])
def test_curve_equals_a_loop_over_shells(shape, window) -> None:
    a, b = volumes(shape)
    curve = fourier_shell_correlation(a, b, CUBIC, window=window)
    expected, count = loop_over_shells(a, b, CUBIC, hann=window == "hann")
    np.testing.assert_allclose(curve.correlation[1:], expected, atol=1e-3)
    assert curve.num_voxels[1:].tolist() == count.tolist()
    n = min(shape)
    np.testing.assert_allclose(curve.frequency_per_nm, np.arange(n // 2 + 1) / (10 * n))


@pytest.mark.parametrize("edges", [(80, 10, 10), (10, 40, 20), (5, 3, 7)])
def test_shells_are_physical_when_voxels_are_not_cubic(edges) -> None:
    a, b = volumes((16, 24, 20))
    curve = fourier_shell_correlation(a, b, VoxelSize(*edges))
    expected, count = loop_over_shells(a, b, edges)
    keep = count > 0
    np.testing.assert_allclose(curve.correlation[1:], expected[keep], atol=1e-3)
    assert curve.frequency_per_nm[-1] <= 0.5 / max(edges) + 1e-12


@pytest.mark.parametrize("around", ["z", "xy"])
def test_cones_equal_a_loop_and_tell_a_blur_along_z(around) -> None:
    a, b = volumes((20, 24, 24))
    cosine, sine = math.cos(math.radians(30)), math.sin(math.radians(30))

    def keep(q, radius):
        axial = abs(q[0])
        return axial >= radius * cosine if around == "z" else axial <= radius * sine

    curve = fourier_shell_correlation(a, b, CUBIC, cone=Cone(around))
    expected, _ = loop_over_shells(a, b, CUBIC, keep=keep)
    np.testing.assert_allclose(curve.correlation[1:], expected, atol=1e-3)
    curves = resolution_curves(a, b, CUBIC)
    along_z, in_xy = curves.cone_z.resolution_at(0.5), curves.cone_xy.resolution_at(0.5)
    assert along_z is not None and along_z > 30
    assert in_xy is None or in_xy < along_z / 1.3


def test_the_four_curves_are_the_single_ones() -> None:
    a, b = volumes((16, 17, 18))
    curves = resolution_curves(a, b, CUBIC)
    for got, options in (
        (curves.plain, {}),
        (curves.hann, {"window": "hann"}),
        (curves.cone_z, {"cone": Cone("z")}),
        (curves.cone_xy, {"cone": Cone("xy")}),
    ):
        expected = fourier_shell_correlation(a, b, CUBIC, **options)
        np.testing.assert_array_equal(got.correlation, expected.correlation)


def test_resolution_is_the_period_of_a_sharp_cut() -> None:
    # b agrees with a up to a quarter of a cycle per voxel and is independent beyond.
    rng = np.random.default_rng(2)
    a, noise = rng.standard_normal((2, 48, 48, 48))
    radius = np.sqrt(sum(k * k for k in np.meshgrid(*[np.fft.fftfreq(48)] * 3, indexing="ij")))
    b = np.fft.ifftn(np.where(radius <= 0.25, np.fft.fftn(a), np.fft.fftn(noise))).real
    curve = fourier_shell_correlation(a, b, CUBIC)
    resolution = curve.resolution_at(0.5)
    assert resolution is not None
    assert resolution == pytest.approx(10 / 0.25, rel=0.03)
    assert curve.resolution_text(0.5) == f"{resolution:.1f} nm"


def test_a_crossing_is_interpolated_and_the_first_one_counts() -> None:
    curve = FSCCurve(
        np.array([0, 0.01, 0.02, 0.03, 0.04]), np.array([1, 0.9, 0.4, 0.8, 0.1]), np.ones(5, int)
    )
    assert curve.resolution_at(0.5) == pytest.approx(1 / 0.018)
    assert curve.resolution_at(0.05) is None
    assert curve.resolution_text(0.05) == "not crossed"


def test_half_bit_is_the_published_curve_and_is_crossed_where_it_is_met() -> None:
    counts = np.array([1, 20, 100, 400, 10_000])
    curve = FSCCurve(np.arange(5) / 100, np.array([1, 0.9, 0.5, 0.2, 0.1]), counts)
    expected = [(0.2071 + 1.9102 / math.sqrt(n)) / (1.2071 + 0.9102 / math.sqrt(n)) for n in counts]
    np.testing.assert_allclose(curve.half_bit[1:], expected[1:])
    above = curve.correlation - np.array(expected)
    assert above[2] > 0 > above[3]  # crossed between the third and the fourth shell
    frequency = 0.02 + 0.01 * above[2] / (above[2] - above[3])
    assert curve.resolution_at("half-bit") == pytest.approx(1 / frequency)
    many = FSCCurve(curve.frequency_per_nm, np.ones(5), counts)
    assert many.resolution_text("half-bit") == "not crossed"


def test_rings_equal_a_loop_over_slices_and_rings() -> None:
    a, b = volumes((3, 20, 24), sigma=(0, 1, 1))
    curve = fourier_ring_correlation(a, b, (10, 8))
    width = 1 / min(20 * 10, 24 * 8)
    radius = np.hypot(np.fft.fftfreq(20, 10)[:, None], np.fft.fftfreq(24, 8))
    rings = np.floor(np.round(radius / width, 9) + 0.5)
    taper = np.hanning(20)[:, None] * np.hanning(24)
    for ring in range(1, len(curve.correlation)):
        values = []
        for x, y in zip(a, b, strict=True):
            fx, fy = (np.fft.fft2((s - s.mean()) * taper)[rings == ring] for s in (x, y))
            power = np.sum(abs(fx) ** 2) * np.sum(abs(fy) ** 2)
            values.append(np.sum(fx * fy.conj()).real / math.sqrt(power))
        assert curve.correlation[ring] == pytest.approx(np.mean(values), abs=1e-6)
        assert curve.num_voxels[ring] == 3 * (rings == ring).sum()
    assert curve.frequency_per_nm[-1] == pytest.approx(0.05, abs=width)


def test_the_work_can_be_watched() -> None:
    a, b = volumes((12, 14, 16))
    steps = resolution_curve_steps(a, b, CUBIC)
    done = []
    with pytest.raises(StopIteration) as end:
        while True:
            done.append(next(steps))
    assert done == sorted(done) and done[0] >= 0 and done[-1] < 1
    expected = resolution_curves(a, b, CUBIC).cone_z.correlation
    np.testing.assert_array_equal(end.value.value.cone_z.correlation, expected)


def test_identical_volumes_never_cross_and_scale_does_not_matter() -> None:
    a, b = volumes((12, 12, 12))
    same = fourier_shell_correlation(a, a, CUBIC)
    np.testing.assert_allclose(same.correlation, 1)
    assert same.resolution_at(0.143) is None
    tiny = fourier_shell_correlation(1e-12 * a + 3e-12, b, CUBIC)
    expected = fourier_shell_correlation(a, b, CUBIC)
    np.testing.assert_allclose(tiny.correlation, expected.correlation, atol=1e-6)


def test_an_empty_volume_correlates_with_nothing() -> None:
    a, _ = volumes((12, 12, 12))
    curve = fourier_shell_correlation(a, np.zeros_like(a), CUBIC)
    assert (curve.correlation[1:] == 0).all()


def test_single_precision_of_large_volumes_is_good_enough(monkeypatch) -> None:
    a, b = volumes((24, 24, 24))
    double = fourier_shell_correlation(a, b, CUBIC)
    monkeypatch.setattr(fsc_module, "_DOUBLE_PRECISION_VOXELS", 0)
    single = fourier_shell_correlation(a, b, CUBIC)
    assert not np.array_equal(single.correlation, double.correlation)
    np.testing.assert_allclose(single.correlation, double.correlation, atol=1e-4)


def test_other_shapes_are_refused() -> None:
    a, b = volumes((12, 12, 12))
    with pytest.raises(InputError, match=r"\(12, 12, 12\).*\(11, 12, 12\)"):
        fourier_shell_correlation(a, b[1:], CUBIC)
    with pytest.raises(InputError, match="at least 4"):
        fourier_shell_correlation(a[:3], b[:3], CUBIC)
    with pytest.raises(InputError, match="half angle"):
        Cone("z", 0)
