"""What networks make of a volume: SliceFID and LPIPS, in a table and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from napari_d2r.metrics import PLANES, Perception, Plane, SliceFID, slice_distance, slice_fid
from napari_d2r.stages._comparison import aligned_table


@dataclass(frozen=True, slots=True)
class PerceptualScores:
    """One volume as networks see it; None where the network is not there.

    Parameters
    ----------
    seen_by
        Which networks: a stand-in must not pass for the published ones.
    slice_fid
        Of the slices of each plane and XY slices of the reference.
    lpips
        By plane, the mean over slices.
    """

    seen_by: str
    slice_fid: SliceFID | None
    lpips: dict[Plane, float] | None

    def to_object(self) -> dict[str, object]:
        """Plain values; keys are documented in ``docs/evaluation.md``."""
        fid = self.slice_fid
        return {
            "seen_by": self.seen_by,
            "slice_fid": None if fid is None else dict([*fid.planes.items(), ("mean", fid.mean)]),
            "lpips": self.lpips,
        }


def score_perception(
    truth: NDArray[Any], test: NDArray[Any], perception: Perception, *, low: float, high: float
) -> PerceptualScores:
    """See `slice_fid` and `slice_distance`; grey values ``low`` and ``high`` become 0 and 1."""
    extract, distance = perception.extract, perception.distance
    return PerceptualScores(
        perception.name,
        None if extract is None else slice_fid(truth, test, extract, low=low, high=high),
        None if distance is None else slice_distance(truth, test, distance, low=low, high=high),
    )


def perceptual_table(rows: list[tuple[str, PerceptualScores]]) -> str:
    """An aligned Markdown table of all volumes, and who looked."""
    table = aligned_table(
        ["", "SliceFID XY", "XZ", "YZ", "mean", "LPIPS XY", "XZ", "YZ"],
        [
            [name, *_fid_cells(scores.slice_fid), *_lpips_cells(scores.lpips)]
            for name, scores in rows
        ],
    )
    return f"{table}\n\nSeen by: {rows[0][1].seen_by}."


def _fid_cells(fid: SliceFID | None) -> list[str]:
    if fid is None:
        return ["-"] * (len(PLANES) + 1)
    return [f"{value:.4g}" for value in (*(fid.planes[plane] for plane in PLANES), fid.mean)]


def _lpips_cells(lpips: dict[Plane, float] | None) -> list[str]:
    return ["-"] * len(PLANES) if lpips is None else [f"{lpips[plane]:.3f}" for plane in PLANES]
