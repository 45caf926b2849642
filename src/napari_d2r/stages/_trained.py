"""What a training leaves behind: a frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_d2r.metrics import GainOverLinear

__all__ = ["TrainedModels"]


@dataclass(frozen=True, slots=True)
class TrainedModels:
    """What training leaves behind."""

    folder: Path
    default: str
    gains: Mapping[str, GainOverLinear]

    def summary(self) -> dict[str, Any]:
        """Plain values: ``folder``, ``default``, and for each model its gain in dB and words."""
        gains = {
            name: {"gain_db": gain.gain_db, "sentence": gain.sentence()}
            for name, gain in self.gains.items()
        }
        return {"folder": str(self.folder), "default": self.default, "gains": gains}
