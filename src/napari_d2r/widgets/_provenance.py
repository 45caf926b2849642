"""What a result layer knows about itself, in ``layer.metadata["napari_d2r"]``."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from napari_d2r.widgets._planner import Planned

if TYPE_CHECKING:
    from napari_d2r.stages.super_resolve import SuperResolvePlan


def provenance(planned: Planned) -> dict[str, Any]:
    """Plain values only, so that the layer can be saved with them."""
    wish, plan = planned.wish, planned.plan
    card = None if plan.model is None else plan.model.card
    about: dict[str, Any] = {
        "kind": "super-resolved",
        "version": version("napari-d2r"),
        "source": wish.layer.name,
        "source_path": str(wish.layer.source.path or ""),
        "source_shape": list(plan.volume.shape),
        "source_voxel_size_nm": list(plan.volume.voxel_size),
        "region": None if wish.box is None else [[s.start, s.stop] for s in wish.box],
        "voxel_size_nm": list(plan.voxel_size),
        "factor": plan.grid.factor,
        "measured_slices_at_multiples_of": plan.grid.factor if plan.grid.is_integer else None,
        "method": plan.job.method,
        "method_name": _method_name(plan),
        "model": wish.model_title if card else "",
        "model_path": str(plan.model.path) if plan.model else "",
        "architecture": card.architecture if card else "",
        "weights_sha256": card.weights_sha256 if card else "",
        "trained_on": card.trained_on if card else "",
        "attribution": card.attribution if card else "",
        "provisional": bool(card and card.provisional),
        "is_sample": bool(card and card.sampler is not None),
        "settings": plan.job.model_dump(mode="json"),
        "path": str(planned.output),
        "is_complete": False,
    }
    return about


def _method_name(plan: SuperResolvePlan) -> str:
    """In the name of the layer: a sample must not pass for a prediction."""
    if plan.model is None:
        return plan.job.method
    return "D2R" if plan.model.card.sampler is None else "D2R sample"
