"""Weights in the layout that the authors of D2R and IR-SDE publish, made a model of ours.

A ``.pth`` is a zip with a pickle that says how tensors lie in the other files. Before torch opens
it, with ``weights_only`` and without reading a tensor, that pickle is taken apart: it may name
tensors and nothing else. Names and shapes are then held against `ConditionalNAFNet`, which is the
same network under other names, and only what fits is read.
"""

from __future__ import annotations

import hashlib
import math
import pickle
import pickletools
import re
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from napari_d2r.checkpoints._archive import arriving, require_hash, shown
from napari_d2r.checkpoints._card import HaloCard, ModelCard, UseCard
from napari_d2r.checkpoints._store import save_model
from napari_d2r.errors import InputError, ModelFileError
from napari_d2r.jobs import SamplerSettings
from napari_d2r.models import build_network
from napari_d2r.volumes import MIN_FACTOR, VoxelSize

__all__ = ["import_published"]

_MAX_BYTES, _MAX_PICKLE_BYTES = 2**30, 2**19  # the published network: 82 MB, 63 kB
_TYPES = ("BFloat16", "Bool", "Byte", "Double", "Float", "Half", "Int", "Long")
_TENSORS = {
    "collections OrderedDict",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor_v2",
    *(f"torch {kind}Storage" for kind in _TYPES),
}
_UNNAMED = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
_WRAPPERS = ("state_dict", "params_ema", "ema", "params", "model", "network")

_FOREIGN = "is not the ConditionalNAFNet of D2R or IR-SDE"
# What zipfile, pickletools and torch raise on damaged files.
_DAMAGE = (
    zipfile.BadZipFile, pickle.PickleError, RuntimeError, OSError, ValueError, LookupError,
    TypeError, AttributeError, AssertionError, EOFError, ArithmeticError, MemoryError,
)  # fmt: skip

# Theirs, as patterns, and ours.
_MODULES = {
    r"time_mlp\.1": "time.rise",
    r"time_mlp\.3": "time.mix",
    r"intro": "intro",
    r"enhance\.rcab\.([02])": r"stem.convolutions.\1",
    r"enhance\.rcab\.3\.attention\.1": "stem.weigh.0",
    r"enhance\.rcab\.3\.attention\.3": "stem.weigh.2",
    r"downs\.(\d{1,2})": r"down.\1",
    r"ups\.(\d{1,2})\.0": r"up.\1",
    r"ending": "ending",
}
_BLOCKS = {
    r"encoders\.(\d{1,2}\.\d{1,2})": r"encoder.\1",
    r"middle_blks\.(\d{1,2})": r"middle.\1",
    r"decoders\.(\d{1,2}\.\d{1,2})": r"decoder.\1",
}
_IN_BLOCK = {
    r"mlp\.1\.(weight|bias)": r"modulate.\2",
    r"norm1\.g": "norm_space.gain",
    r"norm2\.g": "norm_channels.gain",
    r"conv1\.(weight|bias)": r"expand.\2",
    r"conv2\.(weight|bias)": r"depthwise.\2",
    r"sca\.1\.(weight|bias)": r"weigh.\2",
    r"conv3\.(weight|bias)": r"project.\2",
    r"conv4\.(weight|bias)": r"mix_in.\2",
    r"conv5\.(weight|bias)": r"mix_out.\2",
    r"(beta|gamma)": r"\2",
}
_NAMES = [
    *((rf"{there}\.(?P<end>weight|bias)", rf"{here}.\g<end>") for there, here in _MODULES.items()),
    *(
        (rf"{place}\.{theirs}", f"{at}.{ours}")
        for place, at in _BLOCKS.items()
        for theirs, ours in _IN_BLOCK.items()
    ),
]


def import_published(
    source: Path, voxel_size: VoxelSize, *, name: str | None = None, sha256: str | None = None
) -> Path:
    """Convert a ``.pth`` and put the model among those of this machine.

    Parameters
    ----------
    source
        Weights of a ``ConditionalNAFNet`` for grey images, as D2R and IR-SDE save them.
    voxel_size
        Of the stack that it learned to restore, nm; its anisotropy is the gap of the model.
    name
        What the model is to be called; None takes the name of the file.
    sha256
        What the file must hash to, where that is known.

    Returns
    -------
    Path
        The folder of the model.

    Raises
    ------
    ModelFileError
        For a file that holds more than tensors, or those of another network.
    InputError
        For a name that is taken or cannot be one, and an isotropic voxel size.
    """
    gap = voxel_size.anisotropy
    if gap < MIN_FACTOR:
        raise InputError(
            "A model restores stacks whose slices are further apart than pixels are; give the "
            "voxel size of the stack that it learned to restore, such as 80,10,10."
        )
    if sha256 is not None:
        require_hash(source, sha256)
    with arriving(source, name) as (folder, target):
        weights = _renamed(_tensors(source), source.name)
        options = _options(weights, source.name)
        _require_same(weights, options, source.name)
        network = build_network("nafnet", options)
        network.load_state_dict(_filled(weights, network.state_dict()))
        reach = int(network.halo)  # type: ignore[arg-type]
        halo = HaloCard(slices=-(-reach // math.floor(gap)), lateral=reach)
        save_model(folder, network, _card(source, voxel_size, options, halo))
    return target


def _tensors(source: Path) -> dict[str, Tensor]:
    """Tensors by name, still in their file."""
    _require_tensors_only(source)
    try:
        found = torch.load(source, map_location="cpu", weights_only=True, mmap=True)
    except _DAMAGE as error:
        raise ModelFileError(f"{source.name} is damaged; get it again.") from error
    for _ in range(2):  # weights may stand beside the state of a training
        if isinstance(found, dict):
            inner = (found[word] for word in _WRAPPERS if isinstance(found.get(word), dict))
            found = next(inner, found)
    if not isinstance(found, dict) or not found:
        raise ModelFileError(f"{source.name} holds no tensors by name.")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ModelFileError(
                f"{source.name} holds {shown(str(key))}, which is no tensor; save the "
                "state_dict of the network alone."
            )
    return {key.removeprefix("module."): value for key, value in found.items()}


def _require_tensors_only(source: Path) -> None:
    """Take the pickle apart, without running it.

    Raises
    ------
    ModelFileError
        For a file that is too long or packed, or a pickle that asks for anything but tensors.
    """
    if not source.is_file():
        raise ModelFileError(f"There is no model file at {source}.")
    if source.stat().st_size > _MAX_BYTES:
        raise ModelFileError(f"{source.name} is far larger than such a model can be.")
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
            if any(one.compress_type != zipfile.ZIP_STORED for one in members):
                raise ModelFileError(f"{source.name} is packed, as torch never does.")
            pickles = [one for one in members if PurePosixPath(one.filename).name == "data.pkl"]
            if len(pickles) != 1 or pickles[0].file_size > _MAX_PICKLE_BYTES:
                raise ModelFileError(f"{source.name} is not a file of weights as torch saves it.")
            for step, argument, _ in pickletools.genops(archive.read(pickles[0])):
                if step.name in _UNNAMED or (step.name == "GLOBAL" and argument not in _TENSORS):
                    what = shown(str(argument or step.name).replace(" ", "."))
                    raise ModelFileError(
                        f"{source.name} asks for {what}, which is no tensor and could run any "
                        "program; it is not opened."
                    )
    except ModelFileError:
        raise
    except _DAMAGE as error:
        raise ModelFileError(
            f"{source.name} is no sound file of weights as torch saves it since version 1.6."
        ) from error


def _renamed(theirs: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """By our names.

    Raises
    ------
    ModelFileError
        For a name that the published network does not have.
    """
    weights, strange = {}, []
    for key, value in theirs.items():
        for pattern, ours in _NAMES:
            if re.fullmatch(pattern, key):
                weights[re.sub(pattern, ours, key)] = value
                break
        else:
            strange.append(key)
    if strange:
        raise ModelFileError(f"{name} {_FOREIGN}: it has {_some(strange)}.")
    return weights


def _options(weights: Mapping[str, Tensor], name: str) -> dict[str, Any]:
    """The config that has tensors of these names; their shapes are judged later."""
    ends = [weights.get(key) for key in ("intro.weight", "ending.weight")]
    if any(end is None or end.ndim != 4 for end in ends):
        raise ModelFileError(f"{name} {_FOREIGN}: its first or last convolution is missing.")
    first, last = (tuple(end.shape) for end in ends if end is not None)
    if (first[1], last[0]) != (2, 1):
        raise ModelFileError(
            f"{name} is made for images of {last[0]} colours, or for another task (channels: "
            f"{first[1]} in, {last[0]} out); one of grey images has 2 and 1."
        )
    blocks = {
        side: Counter(
            int(key.split(".")[1])
            for key in weights
            if key.startswith(f"{side}.") and key.endswith(".beta")
        )
        for side in ("encoder", "decoder")
    }
    counts = {side: [found[i] for i in sorted(found)] for side, found in blocks.items()}
    middle = sum(key.startswith("middle.") and key.endswith(".beta") for key in weights)
    return {
        "in_channels": 2,
        "out_channels": 1,
        "width": first[0],
        "encoder_blocks": counts["encoder"],
        "middle_blocks": middle,
        "decoder_blocks": counts["decoder"],
        "frozen_pooling": False,  # averages that could be frozen are not in the file
    }


def _require_same(weights: Mapping[str, Tensor], options: dict[str, Any], name: str) -> None:
    """Names and shapes, up to axes of length 1; nothing is allocated.

    Raises
    ------
    ModelFileError
        With the first tensors that are missing, too many, or of another shape.
    """
    try:
        with torch.device("meta"):
            expected = build_network("nafnet", options).state_dict()
    except InputError as error:
        raise ModelFileError(f"{name}: {error}") from error
    needed = {key for key in expected if _has_stem(weights) or not key.startswith("stem.")}
    if missing := sorted(needed - weights.keys()):
        raise ModelFileError(f"{name} {_FOREIGN}: it lacks, by our names, {_some(missing)}.")
    if extra := sorted(weights.keys() - expected.keys()):
        raise ModelFileError(f"{name} {_FOREIGN}: it has, by our names, {_some(extra)}.")
    for key, value in weights.items():
        if not value.is_floating_point() or _lengths(value) != _lengths(expected[key]):
            raise ModelFileError(
                f"{name} {_FOREIGN}: {key}, by our name, is {tuple(value.shape)}, not "
                f"{tuple(expected[key].shape)}."
            )


def _filled(weights: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """In our shapes, and with the stem that IR-SDE does not have.

    The stem returns x + (x + c(x)). Without c, and with half of what enters, that is x exactly.
    """
    filled = {key: weights[key].reshape(like[key].shape) for key in weights}
    if _has_stem(weights):
        return filled
    halves = {key: filled[key] / 2 for key in ("intro.weight", "intro.bias")}
    stem = {key: torch.zeros_like(own) for key, own in like.items() if key.startswith("stem.")}
    return {**filled, **halves, **stem}


def _has_stem(weights: Mapping[str, Tensor]) -> bool:
    return any(key.startswith("stem.") for key in weights)


def _lengths(tensor: Tensor) -> tuple[int, ...]:
    return tuple(length for length in tensor.shape if length > 1)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(shown(name) for name in names[:3]) + more


def _card(source: Path, size: VoxelSize, options: dict[str, Any], halo: HaloCard) -> ModelCard:
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    gap = size.anisotropy
    return ModelCard(
        title=source.stem,
        architecture="nafnet",
        options=options,
        role="prior",
        gap=gap,
        gap_range=(gap, gap),
        voxel_size_nm=tuple(size),
        halo=halo,
        prediction="noise",
        sampler=SamplerSettings(solver="reverse_sde", steps=100, shared_noise=False),
        scores={},
        trained_on="a stack that its file does not name",
        trained_by=None,
        developer="whoever published the weights",
        seconds=0,
        steps=0,
        package_version=version("napari-d2r"),
        attribution=f"Converted from {source.name}, SHA-256 {digest}.",
        procedure="not told: its file holds weights only, in the layout of D2R and IR-SDE",
        uses=UseCard(
            limitations=(
                "Nothing about its training is known here but the voxel size that was given when "
                "it was imported.",
                "The published code learns on slices that are interpolated half a gap off; here "
                "they are interpolated where they stand.",
                "Its gates average over a tile, so that two tiles do not agree exactly.",
            )
        ),
    )
