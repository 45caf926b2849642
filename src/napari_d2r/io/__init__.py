"""Files: the only room that opens pixels on disk, and the one that writes them."""

from napari_d2r.io._disk import check_room, replace_file
from napari_d2r.io._export import EXPORTS, ExportFormat, export_stream
from napari_d2r.io._folder import (
    SliceFile,
    SliceHeader,
    odd_names,
    odd_slices,
    read_slice,
    scan_slices,
    slice_paths,
    usual_header,
)
from napari_d2r.io._lazy import channels_first, channels_last, pages_of
from napari_d2r.io._ome_zarr import clear_remains, create_output, interrupted_shard
from napari_d2r.io._open import VolumeInfo, is_slice_folder, open_source, open_volume, probe
from napari_d2r.io._output import OmeZarrOutput, SharedOutput
from napari_d2r.io._owner import (
    begin_showing,
    is_filled_elsewhere,
    is_shown_elsewhere,
    stop_showing,
)
from napari_d2r.io._provenance import PROVENANCE
from napari_d2r.io._pyramid import ome_zarr_num_bytes, ome_zarr_num_files
from napari_d2r.io._save_hdf5 import HDF5_SUFFIXES, save_hdf5_stream
from napari_d2r.io._save_tiff import save_tiff, save_tiff_stream, save_volume
from napari_d2r.io._shards import Shard, ShardStore
from napari_d2r.io._source import Edges, Source, pick_axes
from napari_d2r.io._units import length_in_nm
from napari_d2r.io._verify import DamagedShard, forget, unfinished_of, verify_store
from napari_d2r.io._z_table import read_z_table

__all__ = [
    "EXPORTS",
    "HDF5_SUFFIXES",
    "PROVENANCE",
    "DamagedShard",
    "Edges",
    "ExportFormat",
    "OmeZarrOutput",
    "Shard",
    "ShardStore",
    "SharedOutput",
    "SliceFile",
    "SliceHeader",
    "Source",
    "VolumeInfo",
    "begin_showing",
    "channels_first",
    "channels_last",
    "check_room",
    "clear_remains",
    "create_output",
    "export_stream",
    "forget",
    "interrupted_shard",
    "is_filled_elsewhere",
    "is_shown_elsewhere",
    "is_slice_folder",
    "length_in_nm",
    "odd_names",
    "odd_slices",
    "ome_zarr_num_bytes",
    "ome_zarr_num_files",
    "open_source",
    "open_volume",
    "pages_of",
    "pick_axes",
    "probe",
    "read_slice",
    "read_z_table",
    "replace_file",
    "save_hdf5_stream",
    "save_tiff",
    "save_tiff_stream",
    "save_volume",
    "scan_slices",
    "slice_paths",
    "stop_showing",
    "unfinished_of",
    "usual_header",
    "verify_store",
]
