"""Traps in a stack, named before a voxel is computed."""

from napari_d2r.inspection._findings import Finding, Inspection, Severity
from napari_d2r.inspection._inspect import inspect_folder, inspect_stream, inspect_volume

__all__ = [
    "Finding",
    "Inspection",
    "Severity",
    "inspect_folder",
    "inspect_stream",
    "inspect_volume",
]
