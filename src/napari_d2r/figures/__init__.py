"""Pictures of reports, for a talk or a paper: matplotlib without a window or global state."""

from napari_d2r.figures._audit import draw_audit
from napari_d2r.figures._benchmark import draw_benchmark
from napari_d2r.figures._reports import draw_evaluation, draw_fsc, draw_gain

__all__ = ["draw_audit", "draw_benchmark", "draw_evaluation", "draw_fsc", "draw_gain"]
