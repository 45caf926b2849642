"""A measurement as text: a command line, or a few lines of Python."""

from __future__ import annotations

from typing import Any

from napari_d2r.errors import InputError
from napari_d2r.stages._common_grid import Placed
from napari_d2r.volumes import VoxelSize
from napari_d2r.widgets._commands_text import STACK, shell_line, stack_path
from napari_d2r.widgets._resolution_form import FSCWish, GainWish


def as_command(wish: GainWish | FSCWish) -> str:
    """What the form would do, as a command.

    Raises
    ------
    InputError
        Where the command line has no words for it.
    """
    if isinstance(wish, GainWish):
        if wish.method != "model":
            raise InputError("The command line judges models only; copy this one as Python.")
        model = "bundled" if wish.model is None else str(wish.model)
        words = ["evaluate", stack_path(wish.layer), "--model", model, "--device", wish.device]
        size, layers = wish.stack.voxel_size, [wish.layer]
    else:
        first, second = wish.first, wish.second
        if wish.source is not None or _place(first) != _place(second):
            raise InputError(
                "The command line compares two volumes of one shape that begin at one place, "
                "without a source; copy this as Python."
            )
        words = ["fsc", *(stack_path(layer) for layer in wish.layers)]
        size, layers = first.volume.voxel_size, list(wish.layers)
    words += ["--voxel-size", ",".join(f"{edge:g}" for edge in size), "--crop", str(wish.max_edge)]
    return _explained(shell_line(["napari-d2r", *words]) + "\n", *layers)


def as_python(wish: GainWish | FSCWish) -> str:
    """What the form would do, in Python."""
    imports = ["from napari_d2r import VoxelSize, open_volume"]
    if isinstance(wish, GainWish):
        imports = ["from pathlib import Path", "", *imports]
        imports.append("from napari_d2r.stages.gain import gain_stream")
        options = [f"device={wish.device!r}", f"max_edge={wish.max_edge}"]
        if wish.method != "model":
            options.insert(0, f"method={wish.method!r}")
        elif wish.model is not None:
            options.insert(0, f"Path({str(wish.model)!r})")
        lines = [
            f"stack = {_opened(wish.layer, wish.stack.voxel_size)}",
            f"*_, finished = gain_stream(stack, {', '.join(options)})",
            "print(finished.result.sentence())",
        ]
        return _explained("\n".join([*imports, "", *lines]) + "\n", wish.layer)
    imports.append("from napari_d2r.stages.fsc import Placed, fsc_placed_stream")
    lines = [
        f"first = {_placed(wish.layers[0], wish.first)}",
        f"second = {_placed(wish.layers[1], wish.second)}",
        "source = None"
        if wish.source is None
        else f"source = {_placed(wish.made_from, wish.source)}",
        "*_, finished = fsc_placed_stream(",
        f"    first, second, source=source, max_edge={wish.max_edge}",
        ")",
        "print(finished.result.sentence())",
        "print(finished.result.table())",
    ]
    layers = [layer for layer in (*wish.layers, wish.made_from) if layer is not None]
    return _explained("\n".join([*imports, "", *lines]) + "\n", *layers)


def _place(placed: Placed) -> Any:
    return placed.volume.shape, placed.origin, placed.volume.voxel_size


def _placed(layer: Any, placed: Placed) -> str:
    origin = ", ".join(f"{at:g}" for at in placed.origin)
    return f"Placed({_opened(layer, placed.volume.voxel_size)}, ({origin}))"


def _opened(layer: Any, size: VoxelSize) -> str:
    edges = ", ".join(f"{edge:g}" for edge in size)
    return f"open_volume({stack_path(layer)!r}, voxel_size=VoxelSize({edges}))"


def _explained(text: str, *layers: Any) -> str:
    """The text under a comment, where a layer is no file yet."""
    names = [f"“{layer.name}”" for layer in layers if stack_path(layer) == STACK]
    if not names:
        return text
    return f"# {STACK} stands for {', then '.join(names)}: save each to a file first.\n{text}"
