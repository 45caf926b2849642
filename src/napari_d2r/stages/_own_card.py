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
    z, y, x = (part.stop - part.start for part in plan.box)
    data = DataCard(
        name=plan.volume.name, voxel_size_nm=card.voxel_size_nm, shape=(z, y, x), source="own stack"
    )
    return card.model_copy(
        update={
            "data": (data,),
            "evaluation": tuple(_row(card, name) for name in card.scores),
            "compute": ComputeCard.of(plan.device),
            "domain": describe_domain([plan.volume]),
        }
    )


def _row(card: ModelCard, name: str) -> EvaluationCard:
    """One of the scores, with what it was measured on."""
    is_left_out = name == _LEFT_OUT
    return EvaluationCard(
        volume=card.trained_on,
        relation="training stack" if is_left_out else "held out",
        measure="measured slices left out and predicted" if is_left_out else name,
        factor=2 * card.gap if is_left_out else card.gap,
        gain_db=card.scores[name],
    )
