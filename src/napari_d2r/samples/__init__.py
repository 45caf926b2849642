"""A seeded synthetic volume with a known isotropic truth, to try everything on."""

from napari_d2r.samples._phantom import make_phantom, phantom_sample

__all__ = ["make_phantom", "phantom_sample"]
