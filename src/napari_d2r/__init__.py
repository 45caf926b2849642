"""Axial super-resolution of volume microscopy with D2R."""
