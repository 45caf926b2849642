"""Traps in a stack, named before a voxel is computed; and whether a model knows its like."""

from napari_d2r.inspection._damage import damaged_gaps
from napari_d2r.inspection._domain import (
    Span,
    TrainingDomain,
    compare_with_domain,
    describe_domain,
)
from napari_d2r.inspection._findings import Finding, Inspection, Severity
from napari_d2r.inspection._inspect import inspect_folder, inspect_stream, inspect_volume
from napari_d2r.inspection._names import inspect_names

__all__ = [
    "Finding",
    "Inspection",
    "Severity",
    "Span",
    "TrainingDomain",
    "compare_with_domain",
    "damaged_gaps",
    "describe_domain",
    "inspect_folder",
    "inspect_names",
    "inspect_stream",
    "inspect_volume",
]
