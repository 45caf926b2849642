"""Networks that look at slices for LPIPS and SliceFID, and where their weights come from."""

from napari_d2r.perception._load import DOWNLOAD, RANDOM, load_perception
from napari_d2r.perception._lpips import LPIPS
from napari_d2r.perception._random import RandomFeatures

__all__ = ["DOWNLOAD", "LPIPS", "RANDOM", "RandomFeatures", "load_perception"]
