"""Diffusion processes and samplers: pure functions of (x, condition, t)."""

from napari_d2r.diffusion.irsde import (
    maximum_likelihood_loss,
    noise_to_x0,
    optimum_step,
    perturb,
    posterior_step,
    sde_step,
    x0_loss,
    x0_to_noise,
)
from napari_d2r.diffusion.noise import NoiseField
from napari_d2r.diffusion.sampling import (
    Condition,
    Denoiser,
    KnownRows,
    NoiseSource,
    Step,
    from_noise_head,
    last,
    sample_ddim,
    sample_dpm_solver_pp_2m,
    sample_posterior,
    sample_reverse_sde,
)
from napari_d2r.diffusion.schedules import MeanRevertingSchedule, Spacing, time_grid

__all__ = [
    "Condition",
    "Denoiser",
    "KnownRows",
    "MeanRevertingSchedule",
    "NoiseField",
    "NoiseSource",
    "Spacing",
    "Step",
    "from_noise_head",
    "last",
    "maximum_likelihood_loss",
    "noise_to_x0",
    "optimum_step",
    "perturb",
    "posterior_step",
    "sample_ddim",
    "sample_dpm_solver_pp_2m",
    "sample_posterior",
    "sample_reverse_sde",
    "sde_step",
    "time_grid",
    "x0_loss",
    "x0_to_noise",
]
