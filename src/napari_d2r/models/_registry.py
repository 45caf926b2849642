"""The closed list of networks that a model file may name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from napari_d2r.errors import InputError
from napari_d2r.models.aenet import AENet, AENetConfig
from napari_d2r.models.aenet_fast import AENetFast, AENetFastConfig
from napari_d2r.models.care_unet import CareUNet, CareUNetConfig
from napari_d2r.models.dgean import DGEAN, DGEANConfig
from napari_d2r.models.lateral import LateralNet, LateralNetConfig
from napari_d2r.models.midpoint import MidpointConfig, MidpointDenoiserConfig
from napari_d2r.models.nafnet import ConditionalNAFNet, NAFNetConfig
from napari_d2r.models.srunet import SRUNet, SRUNetConfig
from napari_d2r.models.time_unet import TimeUNet, TimeUNetConfig

# rows: lateral slices on their own grid; sequence: four slices and a depth;
# denoiser: a noisy lateral slice, its interpolation and a time; blocks: slices, at one factor;
# unconditional: a noisy slice and a time.
# masked: a slice of measured rows and noise; masked-denoiser: the same, but noisy, and a time;
# midpoint: two slices; midpoint-denoiser: the noisy slice between them, the two and a time.
Contract = Literal[
    "rows",
    "sequence",
    "denoiser",
    "blocks",
    "unconditional",
    "masked",
    "masked-denoiser",
    "midpoint",
    "midpoint-denoiser",
]
# Networks from whose noise a result is drawn, in many passes: a sample, not the likeliest value.
SAMPLED: frozenset[Contract] = frozenset(
    {"denoiser", "unconditional", "masked-denoiser", "midpoint-denoiser"}
)
# Networks that restore XZ and YZ slices, one by one: a result may be of one direction alone.
LATERAL: frozenset[Contract] = frozenset(
    {"rows", "denoiser", "unconditional", "masked", "masked-denoiser"}
)

# Networks that are told how wide each gap is, so that slices may stand at uneven distances.
UNEVEN: frozenset[str] = frozenset({"lateral", "aenet", "aenet-fast", "dgean"})

# Networks that may be made for several channels, and restore them together: how many slices go in.
OF_CHANNELS: Mapping[Contract, int] = {"masked": 1, "masked-denoiser": 1, "midpoint": 2}


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network class, its config, and what it expects to be fed."""

    network: type[nn.Module]
    config: type[Any]
    contract: Contract


ARCHITECTURES: Mapping[str, Architecture] = {
    "lateral": Architecture(LateralNet, LateralNetConfig, "rows"),
    "care-unet": Architecture(CareUNet, CareUNetConfig, "rows"),
    "nafnet": Architecture(ConditionalNAFNet, NAFNetConfig, "denoiser"),
    "aenet": Architecture(AENet, AENetConfig, "sequence"),
    "aenet-fast": Architecture(AENetFast, AENetFastConfig, "sequence"),
    "dgean": Architecture(DGEAN, DGEANConfig, "sequence"),
    "srunet": Architecture(SRUNet, SRUNetConfig, "blocks"),
    "ddpm-unet": Architecture(TimeUNet, TimeUNetConfig, "unconditional"),
    "ms-unet": Architecture(TimeUNet, TimeUNetConfig, "masked"),
    "msdsr-unet": Architecture(TimeUNet, TimeUNetConfig, "masked-denoiser"),
    "e2e-unet": Architecture(TimeUNet, MidpointConfig, "midpoint"),
    "emdiffuse-unet": Architecture(TimeUNet, MidpointDenoiserConfig, "midpoint-denoiser"),
}
_MAX_CHANNELS, _MAX_BLOCKS, _MAX_LEVELS = 1024, 64, 8


def build_network(architecture: str, options: Mapping[str, Any]) -> nn.Module:
    """A freshly initialised network.

    Raises
    ------
    InputError
        For a name that is not in the registry, an unknown option or an absurd size.
    """
    entry = architecture_named(architecture)
    known = {field.name for field in dataclasses.fields(entry.config)}
    if unknown := sorted(set(options) - known):
        raise InputError(
            f"Network {architecture} has no option {unknown[0]!r}; "
            f"it has {', '.join(sorted(known))}."
        )
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}
    _require_sane(architecture, values)
    try:
        config = entry.config(**values)
        return entry.network(config)
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise InputError(f"Network {architecture} cannot have {dict(options)}: {error}.") from error


def architecture_named(name: str) -> Architecture:
    """Look a network up by name."""
    if name not in ARCHITECTURES:
        raise InputError(f"There is no network {name!r}; choose from {', '.join(ARCHITECTURES)}.")
    return ARCHITECTURES[name]


def describe_config(network: nn.Module) -> dict[str, Any]:
    """The config of a network as plain values, for its model card."""
    config: Any = network.config
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in dataclasses.asdict(config).items()
    }


def _require_sane(architecture: str, values: Mapping[str, Any]) -> None:
    """A hostile card must not make us allocate gigabytes."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            raise InputError(
                f"Network {architecture}: {name} is {value}, where a number or a list is meant."
            )
        if isinstance(value, tuple) and len(value) > _MAX_LEVELS:
            raise InputError(
                f"Network {architecture}: {name} has {len(value)} levels; at most {_MAX_LEVELS}."
            )
        for number in value if isinstance(value, tuple) else (value,):
            channels = "width" in name or "channels" in name
            least, most = (1, _MAX_CHANNELS) if channels else (0, _MAX_BLOCKS)
            if isinstance(number, int) and not least <= number <= most:
                raise InputError(
                    f"Network {architecture}: {name} is {number}, not {least} to {most}."
                )
