"""The state of a training on disk: one safetensors file, replaced atomically, no pickle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from napari_d2r.errors import InputError
from napari_d2r.io import replace_file


@dataclass(slots=True)
class Counters:
    """Everything about a training that is not a tensor."""

    identity: str
    step: int = 0
    elapsed_s: float = 0.0
    best_score: float = float("-inf")
    skipped: int = 0
    stale_validations: int = 0
    rate_scale: float = 1.0
    loss_scale: float = 2.0**14
    sound_steps: int = 0
    finished: bool = False


def save_state(path: Path, counters: Counters, tensors: dict[str, Tensor]) -> None:
    """Write next to ``path``, flush to the disk, then take the place of the old state."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blob = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        metadata={"counters": json.dumps(asdict(counters))},
    )
    replace_file(path, blob)


def load_state(
    path: Path, identity: str, device: torch.device
) -> tuple[Counters, dict[str, Tensor]]:
    """Read a state back; refuse one that another input, network or setting has written."""
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            counters = Counters(**json.loads(file.metadata()["counters"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is not a training state of this program ({error}); "
            "start anew with --overwrite."
        ) from error
    if counters.identity != identity:
        raise InputError(
            f"{path.parent} was trained on another input or with other settings; "
            "repeat those, or start anew with --overwrite."
        )
    return counters, tensors
