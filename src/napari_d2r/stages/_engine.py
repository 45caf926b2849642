"""From the engine asked for to the one that runs the network."""

from __future__ import annotations

from napari_d2r.checkpoints import Model, home_folder
from napari_d2r.errors import InputError
from napari_d2r.inference import (
    AxialPredictor,
    NotServed,
    NoVariant,
    in_eight_bits,
    in_half,
    require_sound,
    sample_slabs,
)
from napari_d2r.jobs import Engine
from napari_d2r.volumes import IntensityRange, Volume

TORCH = "torch"


def resolve_engine(
    wanted: Engine,
    model: Model,
    predictor: AxialPredictor,
    volume: Volume,
    intensity: IntensityRange,
    gap: float,
) -> tuple[AxialPredictor, str, tuple[str, ...]]:
    """The predictor to use, the name of what runs it, and what the user should know.

    ``auto`` takes 16-bit floats on cuda, and eight bits on a CPU where they are installed and
    serve this model; torch goes on in float32 where either changes too much on this stack,
    and says so.

    Raises
    ------
    InputError
        Where ``int8`` is asked for, but is not installed or does not serve this model, and
        where mps computes something else than the CPU.
    """
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
            half, dtype = in_half(predictor, sample_slabs(volume, intensity), gap)
        except NoVariant as reason:
            return predictor, TORCH, (str(reason),)
        return half, f"torch in {dtype}", ()
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
        return predictor, TORCH, ()
    except NoVariant as reason:
        return predictor, TORCH, (str(reason),)
    return found.predictor, found.name, ()


def _kind(model: Model) -> str:
    """Of the device that holds the weights: cpu, cuda or mps."""
    return next(model.network.parameters()).device.type
