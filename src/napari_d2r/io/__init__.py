"""Files: the only room that opens pixels on disk, and the one that writes them."""

from napari_d2r.io._disk import check_room
from napari_d2r.io._ome_zarr import OmeZarrOutput, Shard, create_output, interrupted_shard
from napari_d2r.io._open import VolumeInfo, open_volume, probe
from napari_d2r.io._pyramid import ome_zarr_num_bytes
from napari_d2r.io._save_tiff import save_tiff

__all__ = [
    "OmeZarrOutput",
    "Shard",
    "VolumeInfo",
    "check_room",
    "create_output",
    "interrupted_shard",
    "ome_zarr_num_bytes",
    "open_volume",
    "probe",
    "save_tiff",
]
