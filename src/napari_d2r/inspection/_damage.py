"""From what an inspection found to the gaps that no network should fill."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from napari_d2r.inspection._findings import Finding

__all__ = ["damaged_gaps"]

_BAD_SLICE = frozenset({"empty", "brightness", "non-finite"})
_NEAR = 2  # slices; copies further apart say how files were put together, not what lies between


def damaged_gaps(findings: Iterable[Finding], num_slices: int) -> tuple[int, ...]:
    """Gaps beside a slice that looks damaged, or between two that are unlike.

    Gap k lies between the slices k and k + 1. Of two slices side by side that show the same
    image either may be the copy, so the gaps beside both count.
    """
    gaps: set[int] = set()
    for finding in findings:
        is_double = finding.kind == "repeated" and np.ptp(finding.slices) <= _NEAR
        if finding.kind in _BAD_SLICE or is_double:
            gaps |= {gap for at in finding.slices for gap in (at - 1, at)}
        elif finding.kind == "unlike":
            gaps.add(min(finding.slices))
    return tuple(sorted(gap for gap in gaps if 0 <= gap < num_slices - 1))
