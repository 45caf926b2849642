"""The closed list of networks: names, sizes, and configs that return from plain values."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from napari_d2r.errors import InputError
from napari_d2r.jobs import load_preset, preset_names
from napari_d2r.models import ARCHITECTURES, architecture_named, build_network, describe_config

SMALL = {
    "lateral": {"widths": [6, 8], "blocks": [1, 1]},
    "aenet-fast": {"widths": [6, 8], "blocks": [1, 1]},
    "aenet": {"width": 2, "depth_in": "encoder"},
    "dgean": {"width": 2},
    "care-unet": {"width": 4},
    "nafnet": {"width": 4, "encoder_blocks": [1], "decoder_blocks": [1]},
    "srunet": {"factor": 3, "widths": [3, 4, 4]},
    "ddpm-unet": {"width": 4, "multipliers": [1, 2], "blocks": 1},
    "ms-unet": {"width": 4, "multipliers": [1, 2], "blocks": 1},
    "msdsr-unet": {"width": 4, "multipliers": [1, 2], "blocks": 1},
    "e2e-unet": {"width": 4, "multipliers": [1, 2], "blocks": 1},
    "emdiffuse-unet": {"width": 4, "multipliers": [1, 2], "blocks": 1},
}


def test_every_network_is_tried_here():
    assert SMALL.keys() == ARCHITECTURES.keys()


@pytest.mark.parametrize("name", SMALL)
def test_a_described_network_is_built_again_from_json(name):
    network = build_network(name, SMALL[name])
    described = describe_config(network)
    assert SMALL[name].items() <= described.items()
    again = build_network(name, json.loads(json.dumps(described)))
    assert again.config == network.config
    shapes = [{k: v.shape for k, v in n.state_dict().items()} for n in (network, again)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", SMALL)
def test_a_network_is_fed_as_its_contract_says(name):
    network = build_network(name, SMALL[name]).eval()
    with torch.no_grad():
        match architecture_named(name).contract:
            case "rows":
                out = network(torch.rand(2, 5, 16), torch.tensor([[0.5]]), torch.tensor(3.0))
                assert out.shape == (2, 4, 1, 16)
            case "sequence":
                out = network(
                    torch.rand(2, 4, 16, 16), torch.full((2, 1), 0.5), torch.full((2,), 3.0)
                )
                assert out.shape == (2, 1, 16, 16)
            case "denoiser":
                out = network(torch.rand(2, 2, 16, 16), torch.tensor([1.0, 100.0]))
                assert out.shape == (2, 1, 16, 16)
            case "unconditional" | "masked" | "masked-denoiser":
                out = network(torch.rand(2, 1, 16, 16), torch.tensor([1.0, 1000.0]))
                assert out.shape == (2, 1, 16, 16)
            case "midpoint":
                out = network(torch.rand(2, 2, 16, 16), torch.zeros(2))
                assert out.shape == (2, 1, 16, 16)
            case "midpoint-denoiser":
                out = network(torch.rand(2, 3, 16, 16), torch.tensor([1.0, 1000.0]))
                assert out.shape == (2, 1, 16, 16)
            case "blocks":
                assert network(torch.rand(2, 4, 16, 16)).shape == (2, 3, 2, 16, 16)


@pytest.mark.parametrize("preset", preset_names())
def test_the_networks_of_every_preset_exist(preset):
    job = load_preset(preset)
    with torch.device("meta"):
        for stage in filter(None, (job.prior, job.student)):
            build_network(stage.network.architecture, stage.network.options)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("unet", {}, "no network 'unet'; choose from lateral, care-unet, nafnet, aenet"),
        (
            "lateral",
            {"depth": 3},
            "lateral has no option 'depth'; it has blocks, .*widths",
        ),
        ("lateral", {"widths": [2000, 8, 8]}, "widths is 2000, not [01] to 1024"),
        ("nafnet", {"width": 10**6}, "width is 1000000, not [01] to 1024"),
        ("nafnet", {"in_channels": 10**6}, "in_channels is 1000000, not [01] to 1024"),
        ("nafnet", {"middle_blocks": 65}, "middle_blocks is 65, not 0 to 64"),
        ("nafnet", {"width": 0}, "width is 0"),
        ("aenet", {"width": -4}, "width is -4"),
        ("aenet", {"depth_in": "nowhere"}, "cannot have"),
        ("aenet-fast", {"widths": [8, 8], "blocks": [1]}, "cannot have"),
        ("aenet-fast", {"widths": [], "blocks": []}, "cannot have"),
        ("aenet-fast", {"widths": [8.5], "blocks": [1]}, "cannot have"),
        ("aenet-fast", {"widths": 8}, "cannot have"),
        ("srunet", {"factor": 1}, "leaves nothing between slices"),
        ("srunet", {"factor": 65}, "factor is 65, not 0 to 64"),
        ("srunet", {"widths": [8, 8]}, "cannot have"),
        ("lateral", {"widths": [8] * 9, "blocks": [1] * 9}, "widths has 9 levels; at most 8"),
    ],
)
def test_what_cannot_be_built_is_said(name, options, words):
    with pytest.raises(InputError, match=words):
        build_network(name, options)


def test_reading_a_model_file_does_not_import_the_compiler_of_torch():
    """Its weights are first compared with a network on the meta device; that took seconds."""
    code = (
        "import sys, torch; from napari_d2r.models import build_network\n"
        "with torch.device('meta'):\n"
        "    for name in ('srunet', 'aenet-fast', 'lateral'): build_network(name, {})\n"
        "print('torch._dynamo' in sys.modules or 'sympy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
