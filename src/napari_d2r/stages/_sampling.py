"""How a result is drawn from noise: as its model's card says, as the job says, or late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from napari_d2r.checkpoints import Model, load_card, load_model, model_folder
from napari_d2r.errors import InputError
from napari_d2r.jobs import SamplerSettings, SuperResolveJob
from napari_d2r.models import LATERAL, SAMPLED, Contract, architecture_named

__all__ = ["load_refiner", "sampler_of", "with_sampler"]

# Of a refinement: at time 30 the noise is half of where IRSDE begins, and the slice still there.
_REFINEMENT = SamplerSettings(steps=4, start=30)


def with_sampler(job: SuperResolveJob, changes: Mapping[str, Any]) -> SuperResolveJob:
    """The job with some settings of its sampler changed; the others stay those of the card."""
    if not changes:
        return job
    sampler = job.sampler or SamplerSettings()
    if job.sampler is None and job.refine_with is not None:
        sampler = _REFINEMENT
    elif job.sampler is None and job.method == "model":
        sampler = load_card(model_folder(job.model))[0].sampler or sampler
    fields = job.model_dump() | {"sampler": sampler.model_dump() | dict(changes)}
    return SuperResolveJob.checked(fields, "super-resolve")


def load_refiner(job: SuperResolveJob, device: torch.device | None) -> Model | None:
    """The diffusion model that refines what another predicts; None where none is wanted.

    Raises
    ------
    InputError
        For a model of another kind.
    """
    if job.refine_with is None:
        return None
    refiner = load_model(model_folder(job.refine_with), device)
    if _contract(refiner) != "denoiser":
        raise InputError(
            f"{job.refine_with} is no IRSDE model, which a refinement takes; train one with the "
            "preset irsde, and name the model itself, such as MODEL/prior."
        )
    return refiner


def sampler_of(
    job: SuperResolveJob, model: Model | None, refiner: Model | None
) -> SamplerSettings | None:
    """How the result is drawn; None where it is a prediction and no sample.

    Raises
    ------
    InputError
        For settings that this method does not have.
    """
    wanted = job.sampler
    if model is None:
        if wanted is not None or refiner is not None:
            raise InputError(f"{job.method} interpolation draws nothing; choose a model.")
        return None
    contract = _contract(model)
    if refiner is not None:
        keeps = all(one.card.degradation.value.is_sampling for one in (model, refiner))
        if contract in SAMPLED or not keeps:
            raise InputError(
                "A refinement begins with a prediction that keeps the measured slices; choose "
                "models that do not deblur, and one that does not draw samples itself."
            )
        return wanted or _REFINEMENT
    if wanted is not None:
        _check(wanted, contract, model.card.sampler)
    return (wanted or model.card.sampler) if contract in SAMPLED else None


def _check(wanted: SamplerSettings, contract: Contract, card: SamplerSettings | None) -> None:
    own = card or SamplerSettings()
    if wanted.direction != "mean" and contract not in LATERAL:
        raise InputError(
            "This model restores XY slices, so there is no direction to choose; leave it out."
        )
    if contract not in SAMPLED and wanted != own.model_copy(update={"direction": wanted.direction}):
        raise InputError(
            "This model predicts and draws no samples; leave out solver, steps and samples."
        )
    is_free = contract == "denoiser"
    if not is_free and (wanted.solver, wanted.start) != (own.solver, own.start):
        raise InputError("Solver and start are a choice of IRSDE models; leave them out.")


def _contract(model: Model) -> Contract:
    return architecture_named(model.card.architecture).contract
