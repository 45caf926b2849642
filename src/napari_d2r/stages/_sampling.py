"""How a result is drawn from noise: as its model's card says, as the job says, or late."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from napari_d2r.checkpoints import Model, ModelCard, load_card, load_index, load_model, model_folder
from napari_d2r.errors import D2RError, InputError
from napari_d2r.jobs import SamplerSettings, SuperResolveJob
from napari_d2r.models import LATERAL, SAMPLED, Contract, architecture_named

__all__ = ["Choices", "choices_of", "load_refiner", "refiners_in", "sampler_of", "with_sampler"]

# Of a refinement: at time 30 the noise is half of where IRSDE begins, and the slice still there.
_REFINEMENT = SamplerSettings(steps=4, start=30)


@dataclass(frozen=True, slots=True)
class Choices:
    """What a model leaves open, for a form to ask.

    ``fields`` are those of `SamplerSettings` that change its result, which are as in ``sampler``
    unless something else is asked for. ``refined`` is what is open once a diffusion model refines
    it; None where none can.
    """

    fields: frozenset[str]
    sampler: SamplerSettings
    refined: Choices | None = None


def choices_of(card: ModelCard) -> Choices:
    """What the model of a card leaves open."""
    contract = architecture_named(card.architecture).contract
    is_refinable = contract not in SAMPLED and card.degradation.value.is_sampling
    refined = Choices(_open_in("denoiser"), _REFINEMENT) if is_refinable else None
    return Choices(_open_in(contract), card.sampler or SamplerSettings(), refined)


def refiners_in(folders: Iterable[Path]) -> tuple[Path, ...]:
    """Models in these folders that may refine what others predict; unsound ones are left out."""
    return tuple(path for folder in folders for path in _models_in(folder) if _may_refine(path))


def _models_in(folder: Path) -> list[Path]:
    try:
        index = load_index(folder)
    except (D2RError, OSError):
        return []
    return [folder] if index is None else [folder / name for name in index.models]


def _may_refine(path: Path) -> bool:
    try:
        card, _ = load_card(path)
        contract = architecture_named(card.architecture).contract
    except (D2RError, OSError):
        return False
    return contract == "denoiser" and card.degradation.value.is_sampling


def _open_in(contract: Contract) -> frozenset[str]:
    names = {"direction"} if contract in LATERAL else set()
    if contract in SAMPLED:
        names |= {"steps", "samples"}
    return frozenset(names | {"solver"} if contract == "denoiser" else names)


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
