"""A Methods paragraph for a result layer."""

from __future__ import annotations

from napari.utils.notifications import show_info, show_warning
from napari.viewer import Viewer

from napari_d2r.jobs import Provenance
from napari_d2r.widgets._controls import put_in_clipboard
from napari_d2r.widgets._provenance import provenance_in

_D2R = "Chen et al., From Diffusion to Resolution, arXiv:2411.16792"


def copy_methods_paragraph(viewer: Viewer) -> None:
    """Copy a Methods paragraph about the selected result to the clipboard."""
    layer = viewer.layers.selection.active
    about = provenance_in(layer)
    if about is None:
        show_warning("Select one layer that Super-resolve has made; it knows how it was made.")
        return
    put_in_clipboard(methods_paragraph(about))
    show_info(f"A Methods paragraph about {layer.name} is in the clipboard.")


def methods_paragraph(about: Provenance) -> str:
    """Version, model, settings, factor, voxel sizes, baseline and citation as prose.

    ``about`` is the provenance of a layer; it is the same when the layer is opened anew.
    """
    return " ".join(
        [
            _what(about),
            _how(about),
            _measured(about),
            *([] if about.is_complete else ["The run had not been finished."]),
        ]
    )


def _what(about: Provenance) -> str:
    slices, height, width = about.source_shape
    region = " (a region of it)" if about.region else ""
    channels = "three colours" if about.is_rgb else f"{about.num_channels} channels"
    edges = _edges(about.source_voxel_size_nm)
    together = "" if about.num_channels is None else f", {channels} together,"
    return (
        f"The stack “{about.source}”{region} of {slices} slices of {height} × {width} pixels "
        f"({edges}){together} was sampled {about.factor:g} times finer "
        f"along z ({_edges(about.voxel_size_nm)}) with napari-d2r {about.version}."
    )


def _how(about: Provenance) -> str:
    if about.method != "model":
        return f"Slices between the measured ones were made by {about.method} interpolation."
    kind = _sample(about) if about.is_sample else "are predictions of a neural network"
    origin = about.attribution or f"Trained on {about.trained_on}"
    return (
        f"Slices between the measured ones {kind} of the D2R family ({_D2R}): the "
        f"model “{about.model}” (architecture {about.architecture}, SHA-256 of its weights "
        f"{about.weights_sha256[:16]}), run on the device “{about.device}” by {about.engine}. "
        f"{origin.rstrip('.')}. Predictions are not measurements; linear interpolation of the same "
        "stack is the baseline with which they should be compared."
    )


def _sample(about: Provenance) -> str:
    drawn = about.sampler or {}
    many = drawn.get("samples", 1)
    how = f"are the mean of {many} samples" if many > 1 else "are one sample"
    solver = f"solver {drawn['solver']}, " if drawn else ""
    if not about.refined_with:
        return f"{how} of a diffusion model ({solver}seed {about.seed})"
    return (
        f"{how} of a diffusion model ({solver}seed {about.seed}; SHA-256 of its weights "
        f"{about.refined_with[:16]}) that was begun at time {drawn['start']} of 100 with the "
        "predictions of a neural network"
    )


def _measured(about: Provenance) -> str:
    every = about.measured_slices_at_multiples_of
    if about.measured_slices == "restored":
        return "Measured slices are blurred along Z and were restored like those between them."
    if about.measured_slices_at is not None:
        return (
            "The slices stood at uneven distances along z, as a table says (above: their mean); "
            "those that fall on the new grid are unchanged, the others count where they stood."
        )
    if every is None:
        return "Measured slices are kept where they fall on the new grid."
    return f"Measured slices are unchanged and stand at every {every:g}th slice of the result."


def _edges(edges: tuple[float, float, float]) -> str:
    return "voxels of " + " × ".join(f"{edge:g}" for edge in edges) + " nm, z × y × x"
