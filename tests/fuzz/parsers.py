"""Which code of ours parses: what turns bytes, headers, names and texts of others into values.

Of a file either all functions, or those named, with what stands within them. Not what writes or
exports, what reads voxels once a file is understood, nor what the user chose.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

# Found without being imported, so that what its imports do can be measured.
SOURCE = Path(str(find_spec("napari_d2r").origin)).parent
ALL = ""

PARSERS: Mapping[str, tuple[str, ...]] = {
    "checkpoints/_archive.py": (
        "import_model",
        "arriving",
        "verify_model",
        "_copy",
        "_copy_file",
        "_members",
        "_members_of_folder",
        "_members_of_zip",
        "_judged",
        "_pickle",
        "_clean_name",
        "require_hash",
        "shown",
    ),
    "checkpoints/_library.py": ("_read_known",),
    "checkpoints/_published.py": (ALL,),
    "checkpoints/_store.py": (
        "load_index",
        "load_card",
        "load_model",
        "weight_shapes",
        "_small_text",
        "_first",
    ),
    "cli/_options.py": ("text_of",),
    "inspection/_names.py": (ALL,),
    "io/_folder.py": (ALL,),
    "io/_hdf5.py": (ALL,),
    "io/_journal.py": ("Journal.open", "Journal.mend", "Journal.require_ours", "Journal._accept"),
    "io/_lazy.py": ("refuse_bomb", "MemmapArray", "PlaneStack.__init__", "PlaneStack._plane"),
    "io/_mrc.py": (ALL,),
    "io/_npy.py": (ALL,),
    "io/_ome_zarr.py": ("interrupted_shard", "_unfinished"),
    "io/_open.py": (ALL,),
    "io/_owner.py": ("is_filled_elsewhere", "is_shown_elsewhere", "_is_of_another", "_owner"),
    "io/_provenance.py": ("provenance_in", "provenance_in_text"),
    "io/_shards.py": ("ShardStore.__init__", "ShardStore.shards", "ShardStore.size"),
    "io/_source.py": (ALL,),
    "io/_tensorstore.py": (ALL,),
    "io/_tiff.py": (ALL,),
    "io/_units.py": (ALL,),
    "io/_verify.py": (ALL,),
    "io/_z_table.py": (ALL,),
    "io/_zarr.py": (ALL,),
    "jobs/_jobs.py": ("Job.from_yaml", "Job.checked", "Job.override"),
    "jobs/_provenance.py": ("Provenance.found_in",),
    "jobs/_settings.py": ("PriorSettings._without_process",),
    "jobs/_suite.py": (
        "SuiteMethod",
        "Suite._names_are_known",
        "Suite.only",
        "load_suite",
    ),
    "jobs/_yaml.py": ("read_yaml", "parse_yaml", "_require_short"),
    "jobs/_wire.py": ("decode", "_reader", "_special", "_picture", "_shown"),
    "models/_registry.py": ("build_network", "architecture_named", "_require_sane"),
    "stages/_cluster.py": ("site_options", "_bad_site"),
    "stages/_pseudo_hr.py": ("SlabFile._restore",),
    "stages/benchmark.py": ("_row_of", "_spent"),
    "training/_state.py": ("load_state",),
    "volumes/_volume.py": ("VoxelSize.__post_init__", "VoxelSize.parse"),
}


def parses(file: str, function: str) -> bool:
    """Whether a function, by its qualified name, is one of them."""
    return any(
        function == name or function.startswith(f"{name}.") or name == ALL
        for name in PARSERS.get(file, ())
    )


def functions_in(path: Path) -> Iterator[str]:
    """Qualified names of the functions and classes of a module."""

    def walk(node: ast.AST, above: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                yield above + child.name
                yield from walk(child, f"{above}{child.name}.")

    yield from walk(ast.parse(path.read_text("utf-8")), "")
