"""Traps in a stack, named before a voxel is computed."""

from napari_d2r.inspection._findings import Finding, Inspection, Severity
from napari_d2r.inspection._inspect import inspect_folder, inspect_stream, inspect_volume
from napari_d2r.inspection._names import inspect_names

__all__ = [
    "Finding",
    "Inspection",
    "Severity",
    "inspect_folder",
    "inspect_names",
    "inspect_stream",
    "inspect_volume",
]
