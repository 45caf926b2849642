"""A model for other programs: a package as the bioimage.io model specification 0.5 has it.

The weights are TorchScript, which torch runs without us. What the package says of its tensors is
all that a program learns of them: four slices with a distance in, the slices between the middle
two, on a finer axis, out. Source: bioimage.io model resource description, version 0.5.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from napari_d2r.checkpoints import (
    Model,
    ModelCard,
    load_model,
    render_card,
    require_new_zip,
    write_zip,
)
from napari_d2r.errors import InputError, explain
from napari_d2r.inference import PORTABLE, as_torchscript, example_of
from napari_d2r.models import Contract, architecture_named
from napari_d2r.volumes import HIGH_PERCENTILE, LOW_PERCENTILE, MAX_FACTOR

__all__ = ["export_bioimageio"]

_FORMAT = "0.5.4"
_EPS = 1e-6
_WEIGHTS, _TEXT, _INPUT, _OUTPUT = "weights.pt", "README.md", "test-input.npy", "test-output.npy"
_CITE = (
    {
        "text": "Chen et al., From Diffusion to Resolution: Leveraging 2D Diffusion Models for 3D "
        "Super-Resolution Task, 2024",
        "doi": "10.48550/arXiv.2411.16792",
    },
)
_ROWS = 9  # of a test slice

_README = """\
{card}
## In this package

`{weights}` is the network with the factor {factor} built in, as TorchScript: {contract}.

- Grey values enter as they are. The description scales percentiles {low} and {high} of what enters
  to 0 and 1; better take them from the whole stack, so that neighbours agree.
- What leaves is on that scale: multiply by the same span and add the same low value.
- Slices are points: nothing is shifted by half a voxel.
{more}
## Validation

Leave every second slice of a stack out, predict it, and compare with linear interpolation;
`napari-d2r evaluate STACK --model MODEL` does that.
"""
_CONTRACTS: dict[Contract, tuple[str, str]] = {
    "sequence": (
        "measured slices j - 1, j, j + 1, j + 2 in, the {between} slices between j and j + 1 out",
        "- At the ends of a stack repeat the first or last slice.\n",
    ),
    "rows": (
        "the measured rows of one XZ slice in, all rows of the slice out, {factor} times finer",
        "- Give all rows of a slice at once. napari-d2r restores XZ slices, and YZ slices upside "
        "down, and averages both.\n",
    ),
}


def export_bioimageio(
    folder: Path,
    target: Path,
    *,
    factor: int | None = None,
    authors: Sequence[str] = (),
    licence: str | None = None,
) -> str:
    """Write a model as a bioimage.io package.

    Parameters
    ----------
    folder
        A sound model folder; of several models its default one.
    target
        A new file ``*.zip``.
    factor
        How many times finer along z; None takes the gap of the model, rounded.
    authors
        Names; may be left out for a model that ships or was converted.
    licence
        Of the weights, by its SPDX name; None takes that of the card.

    Returns
    -------
    str
        SHA-256 of the file.

    Raises
    ------
    ModelFileError
        For a model that is not sound.
    InputError
        Where ``target`` cannot be written, the description would be incomplete, or the
        specification has no words for what such a model does.
    """
    require_new_zip(target)
    model = load_model(folder)
    card = model.card
    contract = _require_portable(model)
    factor = round(card.gap) if factor is None else factor
    if not 2 <= factor <= MAX_FACTOR:
        raise InputError(f"The factor must be a whole number from 2 to {MAX_FACTOR:g}.")
    low, high = card.gap_range
    if not low - 0.5 <= factor <= high + 0.5:
        raise InputError(
            f"This model has practised gaps of {low:g} to {high:g} lateral voxels; choose a factor "
            "among them."
        )
    module = PORTABLE[contract](model.network, factor)
    stride = int(model.network.lateral_stride)  # type: ignore[arg-type]
    halo = -(-card.halo.lateral // stride) * stride  # tiles begin where the network's pooling does
    least = 2 * halo + stride
    grey = example_of(contract, (least if contract == "sequence" else _ROWS, least + 2 * stride))
    unit = _unit(grey.numpy())
    with torch.no_grad():
        found = module.eval()(torch.from_numpy(unit)).numpy()
    try:
        other = (4 * stride if contract == "sequence" else _ROWS - 3, 5 * stride)
        traced = example_of(contract, other, seed=1) / 255
        weights = as_torchscript(module, traced, torch.from_numpy(unit))
    except RuntimeError as error:
        raise InputError(f"This model cannot be TorchScript ({explain(error)}).") from error
    blobs = {
        _WEIGHTS: weights,
        _TEXT: _readme(card, contract, factor).encode(),
        _INPUT: _npy(grey.numpy()),
        _OUTPUT: _npy(found),
    }
    facts = {
        "type": "model",
        "format_version": _FORMAT,
        **_about(card, authors, licence),
        **_tensors(card, contract, factor, least, stride, halo, blobs),
        "weights": {
            "torchscript": {
                **_file(_WEIGHTS, blobs),
                "pytorch_version": torch.__version__.split("+")[0],
            }
        },
    }
    text = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True).encode()
    opened = {name: partial(io.BytesIO, blob) for name, blob in {"rdf.yaml": text, **blobs}.items()}
    return write_zip(target, opened)


def _require_portable(model: Model) -> Contract:
    contract = architecture_named(model.card.architecture).contract
    if contract not in PORTABLE:
        raise InputError(
            f"A bioimage.io package holds a network that answers in one pass, and "
            f"{model.card.architecture} does not; export a student or a lateral regressor."
        )
    if not model.card.degradation.value.is_sampling:
        raise InputError(
            "This model restores blurred slices too, which a bioimage.io package of ours does not "
            "describe; export one that was trained on slices as they stand."
        )
    return contract


def _about(card: ModelCard, authors: Sequence[str], licence: str | None) -> dict[str, Any]:
    """Who, what, and on what terms."""
    names = list(authors)
    if not names and card.trained_by is None:
        names = [card.developer or "The napari-d2r developers"]
    if not names:
        raise InputError("A bioimage.io package names its authors; pass --author, once for each.")
    licence = licence or card.licence
    if not re.fullmatch(r"[A-Za-z0-9.+-]+", licence):
        raise InputError(
            "A bioimage.io package needs a licence by its SPDX name; pass one, such as --licence "
            "CC-BY-4.0."
        )
    name = f"Axial super-resolution {card.title or card.trained_on} {card.role}"
    return {
        "name": re.sub(r"[^A-Za-z0-9_+() -]+", " ", name)[:64].strip(),
        "description": f"Fills in the slices of a stack; learned from {card.trained_on}."[:1000],
        "authors": [{"name": name.replace("/", " ")} for name in names],
        "cite": [dict(one) for one in _CITE],
        "license": licence,
        "documentation": _TEXT,
        "tags": ["super-resolution", "axial", "3d", "electron-microscopy", "pytorch", "d2r"],
        "config": {
            "napari_d2r": {
                "version": card.package_version,
                "architecture": card.architecture,
                "weights_sha256": card.weights_sha256,
                "attribution": card.attribution,
                "data": [one.model_dump(mode="json") for one in card.data],
            }
        },
    }


def _tensors(
    card: ModelCard,
    contract: Contract,
    factor: int,
    least: int,
    stride: int,
    halo: int,
    blobs: dict[str, bytes],
) -> dict[str, Any]:
    """Both tensors; lengths in nm, so that the axis z of the output is ``factor`` times finer."""
    _, pixel_y, pixel_x = card.voxel_size_nm
    pixel = min(pixel_y, pixel_x)
    size = {"min": least, "step": stride}
    letters = {"y": pixel_y, "x": pixel_x} if contract == "sequence" else {"x": pixel_x}
    z: dict[str, Any] = {"size": 4} if contract == "sequence" else {"size": {"min": 2, "step": 1}}
    finer: dict[str, Any] = {"size": factor - 1}
    if contract == "rows":
        finer = {"size": {"tensor_id": "slices", "axis_id": "z", "offset": 1 - factor}}

    def space(letter: str, scale: float, **more: Any) -> dict[str, Any]:
        return {"type": "space", "id": letter, "unit": "nanometer", "scale": scale, **more}

    def within(letter: str) -> dict[str, Any]:
        return {"size": {"tensor_id": "slices", "axis_id": letter}, "halo": halo}

    scaling = {
        "axes": ["z", *letters],
        "min_percentile": LOW_PERCENTILE,
        "max_percentile": HIGH_PERCENTILE,
        "eps": _EPS,
    }
    entering = {
        "id": "slices",
        "description": "Measured slices, point samples along z",
        "axes": [
            {"type": "batch"},
            space("z", factor * pixel, **z),
            *(space(letter, edge, size=size) for letter, edge in letters.items()),
        ],
        "data": {"type": "float32"},
        "preprocessing": [{"id": "scale_range", "kwargs": scaling}],
        "test_tensor": _file(_INPUT, blobs),
    }
    leaving = {
        "id": "restored",
        "description": "The slices between the middle two"
        if contract == "sequence"
        else "The whole slice, measured rows included",
        "axes": [
            {"type": "batch"},
            space("z", pixel, **finer),
            *(space(letter, edge, **within(letter)) for letter, edge in letters.items()),
        ],
        "data": {"type": "float32"},
        "test_tensor": _file(_OUTPUT, blobs),
    }
    return {"inputs": [entering], "outputs": [leaving]}


def _readme(card: ModelCard, contract: Contract, factor: int) -> str:
    words, more = _CONTRACTS[contract]
    return _README.format(
        card=render_card(card),
        weights=_WEIGHTS,
        factor=factor,
        contract=words.format(factor=factor, between=factor - 1),
        low=LOW_PERCENTILE,
        high=HIGH_PERCENTILE,
        more=more,
    )


def _unit(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """As ``scale_range`` does it, each sample by itself."""
    axes = tuple(range(1, grey.ndim))
    low, high = np.percentile(grey, [LOW_PERCENTILE, HIGH_PERCENTILE], axis=axes, keepdims=True)
    unit: NDArray[np.float32] = ((grey - low) / (high - low + _EPS)).astype(np.float32)
    return unit


def _npy(values: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(values))
    return file.getvalue()


def _file(name: str, blobs: dict[str, bytes]) -> dict[str, str]:
    return {"source": name, "sha256": hashlib.sha256(blobs[name]).hexdigest()}
