"""Does a volume fit a model? Its numbers against those of the model card, in words."""

from __future__ import annotations

from napari_d2r.checkpoints._card import ModelCard
from napari_d2r.inspection import Finding, compare_with_domain
from napari_d2r.volumes import MIN_FACTOR, IntensityRange, Volume

_WHOLE = 0.5  # lateral voxels: a gap that rounds into the range has been practised
_NAMES = {
    "unlike-gap": "distance of slices",
    "unlike-pixel": "pixel size",
    "unlike-grey-values": "grey values",
    "unlike-noise": "noise",
    "unlike-spectrum": "spectrum",
}


def compare_with_card(
    volume: Volume,
    card: ModelCard,
    gap: float | None = None,
    intensity: IntensityRange | None = None,
) -> tuple[Finding, ...]:
    """In what a volume is unlike those that a model knows; a fraction of a second.

    Parameters
    ----------
    gap
        Lateral voxels from slice to slice; None is the anisotropy of the volume. Not judged
        where there is next to nothing between slices.
    intensity
        Of the volume, where it is known already.

    Returns
    -------
    tuple of Finding
        One ``note`` (a little) or ``warning`` (far) for each respect in which the volume is out
        of range; after warnings a last one of kind ``unlike``, which says what to do.

    Raises
    ------
    InputError
        Where the volume cannot be looked at.
    """
    gap = volume.voxel_size.anisotropy if gap is None else gap
    low, high = card.gap_range
    found = []
    if gap >= MIN_FACTOR and not low - _WHOLE <= gap <= high + _WHOLE:
        found.append(
            Finding(
                "unlike-gap",
                "warning",
                f"The slices are {gap:g} lateral voxels apart, but the model has practised {low:g} "
                f"to {high:g}.",
            )
        )
    if card.domain is not None:
        found += compare_with_domain(volume, card.domain, intensity)
    else:
        found.append(
            Finding(
                "unlike-unknown",
                "note",
                "The card of this model is older than this check and does not tell what its "
                "training data looked like; only the distance of slices was compared.",
            )
        )
    names = [_NAMES[one.kind] for one in found if one.severity == "warning"]
    if names:
        found.append(
            Finding(
                "unlike",
                "warning",
                f"This stack is unlike what the model has learned from ({', '.join(names)}): "
                "measure what is gained over linear interpolation before you trust a result, or "
                "train a model on the stack.",
            )
        )
    return tuple(found)
