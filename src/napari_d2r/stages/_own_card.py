"""What the card of a model trained on one's own stack says beyond the network."""

from __future__ import annotations

from napari_d2r.checkpoints import ComputeCard, DataCard, EvaluationCard, ModelCard
from napari_d2r.inspection import describe_domain
from napari_d2r.stages._train_plan import TrainPlan

_LEFT_OUT = "leave-one-out"


def with_facts(card: ModelCard, plan: TrainPlan) -> ModelCard:
    """The card with data, measurements, machine, and what the slices looked like.

    Species and instrument are not stated: the files of a stack do not tell them.
    """
    if plan.reference is None:
        learned, source = plan.volume, "own stack"
        z, y, x = (part.stop - part.start for part in plan.box)
    else:
        learned, source = plan.reference, "own isotropic reference"
        z, y, x = plan.reference.shape
    data = DataCard(
        name=learned.name,
        voxel_size_nm=tuple(learned.voxel_size),
        shape=(z, y, x),
        source=source,
    )
    return card.model_copy(
        update={
            "data": (data,),
            "evaluation": tuple(_row(card, name, plan) for name in card.scores),
            "compute": ComputeCard.of(plan.device).model_copy(
                update={"num_processes": plan.num_processes}
            ),
            "domain": describe_domain([learned]) if learned.num_channels is None else None,
        }
    )


def _row(card: ModelCard, name: str, plan: TrainPlan) -> EvaluationCard:
    """One of the scores, with what it was measured on."""
    is_left_out = name == _LEFT_OUT
    is_learned_from = is_left_out and plan.reference is None
    return EvaluationCard(
        volume=plan.volume.name if is_left_out else card.trained_on,
        relation="training stack" if is_learned_from else "held out",
        measure="measured slices left out and predicted" if is_left_out else name,
        factor=2 * card.gap if is_left_out else card.gap,
        gain_db=card.scores[name],
    )
