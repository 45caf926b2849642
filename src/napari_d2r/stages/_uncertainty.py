"""How far a result may be off: by whose card, and in which file."""

from __future__ import annotations

from pathlib import Path

from napari_d2r.checkpoints import Model, UncertaintyCard, bundled_model, load_card
from napari_d2r.errors import D2RError, InputError
from napari_d2r.io import open_source
from napari_d2r.jobs import SuperResolveJob

__all__ = ["OF_RESULT", "beside", "is_beside", "is_of", "uncertainty_card"]

# Where a result says, among its provenance, which one it is, and half-widths to which they belong.
OF_RESULT = "result_identity"


def uncertainty_card(job: SuperResolveJob, model: Model | None) -> UncertaintyCard:
    """The shapes to use: the model's own, or those of the bundled model of its role.

    Raises
    ------
    InputError
        For an interpolation other than linear, or where no card has shapes.
    """
    if model is None and job.method != "linear":
        raise InputError(
            f"How far {job.method} interpolation may be off is not known; choose a model or linear "
            "interpolation, or leave out the uncertainty."
        )
    if model is not None and not model.card.degradation.value.is_sampling:
        raise InputError(
            "How far a model of blurred slices may be off cannot be told from the slices "
            "themselves, which are blurred; leave out the uncertainty."
        )
    own = None if model is None else model.card.uncertainty
    role = "student" if model is None else model.card.role
    card = own or load_card(bundled_model(role))[0].uncertainty
    if card is None:
        raise InputError(
            "How far this model may be off was never learned, as its card has no uncertainty; "
            "choose another model, or leave out the uncertainty."
        )
    return card


def beside(output: Path) -> Path:
    """``result.ome.zarr`` to ``result.uncertainty.ome.zarr``, likewise for TIFF."""
    name = output.name
    for suffix in (".ome.zarr", ".ome.tif", ".ome.tiff", output.suffix):
        if name.lower().endswith(suffix.lower()):
            return output.with_name(f"{name[: -len(suffix)]}.uncertainty{name[-len(suffix) :]}")
    raise AssertionError("an output has a suffix")


def is_beside(output: Path, identity: str) -> bool:
    """Whether the half-widths of the result of that identity stand beside it; False for none.

    Raises
    ------
    InputError
        If something else stands there.
    """
    file = beside(output)
    if not file.exists():
        return False
    if not is_of(file, identity):
        raise InputError(
            f"{file.name} exists and belongs to another input, model or settings; pass "
            "--overwrite to replace it, or another name."
        )
    return True


def is_of(file: Path, identity: str) -> bool:
    """Whether a file says that it is the result of that identity, or belongs to it."""
    try:
        return open_source(file).provenance.get(OF_RESULT) == identity
    except D2RError:
        return False
