"""What a plan says about the result that it will leave."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from napari_d2r.jobs import Provenance
from napari_d2r.stages._super_resolve_plan import SuperResolvePlan

__all__ = ["provenance_of"]


def provenance_of(plan: SuperResolvePlan) -> Provenance:
    """How the result of a plan is made, model and settings included."""
    volume, grid = plan.volume, plan.grid
    return Provenance(
        version=version("napari-d2r"),
        source=volume.name,
        source_path="" if volume.source is None else str(volume.source.absolute()),
        source_shape=volume.shape,
        source_voxel_size_nm=tuple(volume.voxel_size),
        shape=plan.output_shape,
        num_channels=volume.num_channels,
        voxel_size_nm=tuple(plan.voxel_size),
        factor=grid.factor,
        measured_slices_at_multiples_of=(
            grid.factor
            if grid.is_integer and grid.copies_measured and grid.places is None
            else None
        ),
        measured_slices_at=grid.places,
        measured_slices="copied" if grid.copies_measured else "restored",
        method=plan.job.method,
        device=str(plan.device),
        engine=plan.engine,
        seed=plan.job.seed,
        settings=plan.job.model_dump(mode="json"),
        **_of_model(plan),
    )


def _of_model(plan: SuperResolvePlan) -> dict[str, Any]:
    if plan.model is None:
        return {}
    card, asked = plan.model.card, plan.job.model or plan.model.path
    return {
        "model": card.title or asked.name,
        "model_path": str(plan.model.path),
        "model_summary": card.summary,
        "architecture": card.architecture,
        "weights_sha256": card.weights_sha256,
        "trained_on": card.trained_on,
        "attribution": card.attribution,
        "is_sample": plan.sampler is not None,
        "sampler": None if plan.sampler is None else plan.sampler.model_dump(mode="json"),
        "refined_with": "" if plan.refiner is None else plan.refiner.card.weights_sha256,
    }
