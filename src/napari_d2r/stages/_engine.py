"""From the engine asked for to the one that runs the network."""

from __future__ import annotations

import torch

from napari_d2r.checkpoints import Model, home_folder
from napari_d2r.errors import InputError
from napari_d2r.inference import (
    AxialPredictor,
    NotServed,
    NoVariant,
    compiled,
    in_eight_bits,
    in_half,
    require_sound,
    sample_slabs,
)
from napari_d2r.jobs import Engine, SuperResolveJob
from napari_d2r.models import has_bfloat16
from napari_d2r.volumes import IntensityRange, Volume

TORCH = "torch"
_COMPILED = "{}, compiled"


def is_plain(engine: str) -> bool:
    """Whether an engine of this name is torch in float32, which every machine has."""
    return engine in (TORCH, _COMPILED.format(TORCH))


def planned_engine(job: SuperResolveJob, device: torch.device) -> Engine:
    """What to ask of `resolve_engine`: torch, where only workers elsewhere have the device.

    Raises
    ------
    InputError
        Where another engine is asked for, which cannot be tested on ``device``.
    """
    if job.device in ("auto", device.type):
        return job.engine
    if job.engine in ("auto", TORCH):
        return "torch"
    raise InputError(
        f"--engine {job.engine} is tested on the stack before the run, and this machine has no "
        f"{job.device} device; pass --engine torch, or begin the run on a machine that has one."
    )


def resolve_engine(
    wanted: Engine,
    model: Model,
    predictor: AxialPredictor,
    volume: Volume,
    intensity: IntensityRange,
    gap: float,
    *,
    compiles: bool = False,
) -> tuple[AxialPredictor, str, tuple[str, ...]]:
    """The predictor to use, the name of what runs it, and what the user should know.

    ``auto`` takes 16-bit floats on cuda. On a CPU it takes eight bits where they are installed and
    serve this model, else bfloat16 where the CPU has instructions for it and the result is no
    sample. Torch goes on in float32 where any of these changes too much on this stack, and says so.
    With ``compiles`` torch compiles what it runs.

    Raises
    ------
    InputError
        Where ``int8`` is asked for, but is not installed or does not serve this model, and
        where mps computes something else than the CPU.
    """
    found, name, notes = _in_numbers(wanted, model, predictor, volume, intensity, gap)
    if not compiles:
        return found, name, notes
    if not name.startswith(TORCH):
        return found, name, (*notes, f"{name} has a compiler of its own; torch compiles nothing.")
    try:
        faster = compiled(found, sample_slabs(volume, intensity), gap)
    except NoVariant as reason:
        return found, name, (*notes, str(reason))
    return faster, _COMPILED.format(name), notes


def _in_numbers(
    wanted: Engine,
    model: Model,
    predictor: AxialPredictor,
    volume: Volume,
    intensity: IntensityRange,
    gap: float,
) -> tuple[AxialPredictor, str, tuple[str, ...]]:
    """The same, as far as the type of the numbers is concerned."""
    device = _kind(model)
    if device == "mps":
        try:
            require_sound(predictor, sample_slabs(volume, intensity), gap)
        except NoVariant as reason:
            raise InputError(str(reason)) from reason
    if wanted == "torch":
        return predictor, TORCH, ()
    if wanted == "half" or (wanted == "auto" and device == "cuda"):
        try:
            return *in_half(predictor, sample_slabs(volume, intensity), gap), ()
        except NoVariant as reason:
            return predictor, TORCH, (str(reason),)
    try:
        found = in_eight_bits(
            predictor,
            lambda: sample_slabs(volume, intensity),
            gap,
            weights_sha256=model.card.weights_sha256,
            cache=home_folder() / "eight-bits",
        )
    except NotServed as reason:
        if wanted == "int8":
            raise InputError(str(reason)) from reason
    except NoVariant as reason:
        return predictor, TORCH, (str(reason),)
    else:
        return found.predictor, found.name, ()
    if model.card.sampler is not None or not has_bfloat16(torch.device(device)):
        return predictor, TORCH, ()
    small = [slab[:3, :48, :48] for slab in sample_slabs(volume, intensity)]
    try:
        return *in_half(predictor, small, gap), ()
    except NotServed:  # which nobody asked for
        return predictor, TORCH, ()
    except NoVariant as reason:
        return predictor, TORCH, (str(reason),)


def _kind(model: Model) -> str:
    """Of the device that holds the weights: cpu, cuda or mps."""
    return next(model.network.parameters()).device.type
