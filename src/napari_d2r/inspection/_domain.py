"""Which volumes a model knows, and in what another volume is unlike them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from napari_d2r.errors import InputError
from napari_d2r.inspection._findings import Finding, Severity
from napari_d2r.inspection._look import MIN_EDGE, PERIODS, PROBABILITIES, decibels, look_at
from napari_d2r.jobs import FrozenModel
from napari_d2r.volumes import IntensityRange, Volume

__all__ = ["Span", "TrainingDomain", "compare_with_domain", "describe_domain"]

# How far out of range a number may be before it is noted, and before it is warned about.
# Chosen so that FIB-25 sample 2 fits sample 1, and light microscopy fits neither.
_PIXEL_TIMES = 1.25, 3.0
_GREY = 0.06, 0.15
_NOISE_TIMES = 1.4, 3.0
_DECIBELS = 3.0, 8.0


class Span(FrozenModel):
    """The least and the most of a number over all slices that were looked at.

    ``at`` says which number: a probability for grey values, a period in pixels for power.
    """

    at: float = Field(gt=0)
    low: float
    high: float

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low <= self.high:
            raise ValueError("the low end of a range lies above its high end")
        return self

    def excess(self, value: float) -> float:
        """How far ``value`` lies above the span, or below it as a negative number."""
        return max(value - self.high, 0.0) + min(value - self.low, 0.0)


class TrainingDomain(FrozenModel):
    """What slices looked like that a model learned from, in unit intensity."""

    pixel_nm: tuple[float, float] = Field(description="Smallest and largest pixel edge in nm.")
    grey_values: tuple[Span, ...] = Field(
        max_length=32, description="Quantiles, at their probability; 0 dark, 1 bright."
    )
    noise_sigma: tuple[float, float] = Field(description="Of white noise; 1 is the grey scale.")
    power_db: tuple[Span, ...] = Field(
        max_length=32, description="Radially averaged lateral power, at its period in pixels."
    )


def describe_domain(volumes: Iterable[Volume]) -> TrainingDomain:
    """The envelope of what volumes look like, slice by slice.

    Parameters
    ----------
    volumes
        What was learned from. A volume that training changes (inverts, blurs, makes noisier)
        is given as it is and once more for each extreme of that.

    Raises
    ------
    InputError
        For no volume, and for volumes that cannot be looked at.
    """
    pixels: list[float] = []
    looks = []
    for volume in volumes:
        pixels += [volume.voxel_size.y, volume.voxel_size.x]
        looks.append(look_at(volume))
    if not looks:
        raise InputError("Without a volume there is nothing to describe.")
    noise = np.concatenate([look.noise_sigma for look in looks])
    return TrainingDomain(
        pixel_nm=(min(pixels), max(pixels)),
        grey_values=_spans(PROBABILITIES, np.concatenate([look.quantiles for look in looks]), 3),
        noise_sigma=(round(float(noise.min()), 4), round(float(noise.max()), 4)),
        power_db=_spans(PERIODS, decibels(np.concatenate([look.power for look in looks])), 1),
    )


def compare_with_domain(
    volume: Volume, domain: TrainingDomain, intensity: IntensityRange | None = None
) -> tuple[Finding, ...]:
    """In what a volume is unlike those that a model learned from, in words.

    Looks at six slices. ``note`` is a little out of range, ``warning`` far out; nothing is
    said of what is within.

    Raises
    ------
    InputError
        Where the volume cannot be looked at.
    """
    if min(volume.shape[1:]) < MIN_EDGE:
        return tuple(_pixels(volume, domain))  # next to nothing to look at
    look = look_at(volume, intensity)
    grey = dict(zip(PROBABILITIES, look.quantiles.mean(0), strict=True))
    power = dict(zip(PERIODS, decibels(look.power.mean(0)), strict=True))
    return (
        *_pixels(volume, domain),
        *_grey_values(grey, domain),
        *_noise(float(look.noise_sigma.mean()), domain),
        *_power(power, domain),
    )


def _spans(places: Iterable[float], values: NDArray[np.float64], digits: int) -> tuple[Span, ...]:
    """Ranges of the columns of ``values``, but those that no slice could tell."""
    told = ((at, column[np.isfinite(column)]) for at, column in zip(places, values.T, strict=True))
    return tuple(
        Span(at=at, low=round(float(one.min()), digits), high=round(float(one.max()), digits))
        for at, one in told
        if one.size
    )


def _severity(excess: float, limits: tuple[float, float]) -> Severity | None:
    some, far = limits
    return "warning" if excess > far else "note" if excess > some else None


def _pixels(volume: Volume, domain: TrainingDomain) -> Iterator[Finding]:
    low, high = domain.pixel_nm
    size = volume.voxel_size
    times, word = max((max(size.y, size.x) / high, "larger"), (low / size.lateral, "smaller"))
    if severity := _severity(times, _PIXEL_TIMES):
        known = f"{low:g} nm" if low == high else f"{low:g} to {high:g} nm"
        yield Finding(
            "unlike-pixel",
            severity,
            f"Pixels are {size.lateral:g} nm wide, {times:.3g} times {word} than any that the "
            f"model has learned from ({known}): structures have another size in pixels.",
        )


def _grey_values(found: dict[float, float], domain: TrainingDomain) -> Iterator[Finding]:
    worst = _worst(found, domain.grey_values)
    if worst and (severity := _severity(abs(worst.excess(found[worst.at])), _GREY)):
        yield Finding(
            "unlike-grey-values",
            severity,
            f"Grey values are spread otherwise: {100 * worst.at:.0f} % of the voxels lie below "
            f"{100 * found[worst.at]:.0f} % of the grey scale; in what the model has learned from, "
            f"below {100 * worst.low:.0f} to {100 * worst.high:.0f} %.",
        )


def _noise(sigma: float, domain: TrainingDomain) -> Iterator[Finding]:
    low, high = (max(one, 1e-4) for one in domain.noise_sigma)
    times, word = max((sigma / high, "more"), (low / max(sigma, 1e-4), "less"))
    if severity := _severity(times, _NOISE_TIMES):
        yield Finding(
            "unlike-noise",
            severity if word == "more" else "note",
            f"There is {word} noise: {100 * sigma:.2g} % of the grey scale; the model has learned "
            f"{100 * low:.2g} to {100 * high:.2g} %.",
        )


def _power(found: dict[float, float], domain: TrainingDomain) -> Iterator[Finding]:
    worst = _worst(found, domain.power_db)
    if worst is None:
        return
    excess = worst.excess(found[worst.at])
    if severity := _severity(abs(excess), _DECIBELS):
        amount, how = ("more", "sharper or noisier") if excess > 0 else ("less", "smoother")
        yield Finding(
            "unlike-spectrum",
            severity,
            f"Details of {worst.at:.2g} pixels have {abs(excess):.0f} dB {amount} power than in "
            f"anything that the model has learned from: the images are {how} there.",
        )


def _worst(found: dict[float, float], spans: Iterable[Span]) -> Span | None:
    """The span that a number lies farthest out of; None where none can be compared."""
    common = [span for span in spans if np.isfinite(found.get(span.at, np.nan))]
    return max(common, key=lambda span: abs(span.excess(found[span.at])), default=None)
