"""Model folders: exact round trips, and refusal of everything that is not ours."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from napari_d2r.checkpoints import (
    HaloCard,
    ModelCard,
    ModelIndex,
    load_card,
    load_index,
    load_model,
    save_index,
    save_model,
)
from napari_d2r.errors import ModelFileError
from napari_d2r.jobs import SamplerSettings, TrainJob
from napari_d2r.models import build_network, describe_config

OPTIONS = {
    "lateral": {"widths": [6, 8], "blocks": [1, 1]},
    "aenet-fast": {"widths": [6, 8], "blocks": [1, 1]},
    "aenet": {"width": 2},
    "nafnet": {"width": 4, "encoder_blocks": [1], "decoder_blocks": [1]},
}


def card_of(network: torch.nn.Module, architecture: str, **changes: object) -> ModelCard:
    fields = {
        "architecture": architecture,
        "options": describe_config(network),
        "role": "student",
        "gap": 8,
        "gap_range": (2, 16),
        "voxel_size_nm": (80, 10, 10),
        "halo": HaloCard(slices=2, lateral=24),
        "sampler": SamplerSettings(steps=4),
        "scores": {"leave-one-out": 1.25},
        "trained_on": "stack.tif",
        "trained_by": TrainJob(),
        "seconds": 12.5,
        "steps": 40,
        "package_version": "0.1.0",
    }
    return ModelCard(**(fields | changes))


def saved(folder: Path, architecture: str = "lateral") -> torch.nn.Module:
    """A model folder with random weights; returns the network."""
    torch.manual_seed(0)
    network = build_network(architecture, OPTIONS[architecture])
    save_model(folder, network, card_of(network, architecture))
    return network


def rewrite_card(folder: Path, **changes: object) -> None:
    path = folder / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder: Path, words: str) -> str:
    """The one sentence with which a model folder is refused."""
    with pytest.raises(ModelFileError, match=words) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("architecture", OPTIONS)
def test_every_network_returns_bit_by_bit(tmp_path, architecture):
    network = saved(tmp_path / "model", architecture)
    model = load_model(tmp_path / "model")
    assert type(model.network) is type(network)
    assert model.network.config == network.config
    assert not model.network.training
    assert model.path == tmp_path / "model"
    stored = network.state_dict()
    assert model.network.state_dict().keys() == stored.keys()
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, stored[name]), name


def test_the_card_returns_and_vouches_for_the_weights(tmp_path):
    network = saved(tmp_path)
    card = load_model(tmp_path).card
    weights = (tmp_path / "weights.safetensors").read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    count = sum(parameter.numel() for parameter in network.parameters())
    assert card == card_of(network, "lateral", weights_sha256=digest, num_parameters=count)
    assert card.summary == "student lateral, gap 8, leave-one-out +1.25"
    names = ["card.json", "card.md", "weights.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_perfect_score_survives(tmp_path):
    network = build_network("lateral", OPTIONS["lateral"])
    scores = {"leave-one-out": math.inf, "held-out": -math.inf}
    save_model(tmp_path, network, card_of(network, "lateral", scores=scores))
    assert load_model(tmp_path).card.scores == scores


def test_saving_again_replaces(tmp_path):
    saved(tmp_path)
    torch.manual_seed(1)
    second = build_network("lateral", OPTIONS["lateral"])
    save_model(tmp_path, second, card_of(second, "lateral"))
    for name, tensor in load_model(tmp_path).network.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])


@pytest.mark.parametrize("place", [0.3, 0.6, 0.999])
def test_a_flipped_byte_is_noticed(tmp_path, place):
    saved(tmp_path)
    path = tmp_path / "weights.safetensors"
    blob = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(blob[:8], "little")
    blob[header + int(place * (len(blob) - header))] ^= 1
    path.write_bytes(blob)
    refused(tmp_path, "has changed since it was saved; copy the model again")


@pytest.mark.parametrize("place", [0, 3, 8, 40])
def test_a_flipped_byte_of_the_header_is_noticed(tmp_path, place):
    saved(tmp_path)
    path = tmp_path / "weights.safetensors"
    blob = bytearray(path.read_bytes())
    blob[place] ^= 0x55
    path.write_bytes(blob)
    refused(tmp_path, r"weights\.safetensors (cannot be read|does not hold|has changed)")


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_file_is_noticed(tmp_path, length):
    saved(tmp_path)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    refused(tmp_path, r"weights\.safetensors cannot be read as safetensors")


class Marker:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
def test_a_pickle_is_not_executed(tmp_path, write):
    saved(tmp_path)
    marker = tmp_path / "executed"
    write({"weights": Marker(marker)}, tmp_path / "weights.safetensors")
    refused(tmp_path, "cannot be read as safetensors")
    assert not marker.exists()
    pickle.loads(pickle.dumps(Marker(marker)))  # it would have told
    assert marker.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"widths": [10**9, 8], "blocks": [1, 1]}, "widths is 1000000000, not [01] to 1024"),
        ({"widths": [6, 8], "blocks": [1, 10**6]}, "blocks is 1000000, not [01] to 64"),
        ({"widths": [1] * 90_000, "blocks": [1] * 90_000}, "widths has 90000 levels; at most 8"),
        ({"widths": [-1, 8], "blocks": [1, 1]}, "widths is -1"),
        ({"widths": [6.5, 8], "blocks": [1, 1]}, "cannot have"),
        ({"widths": [6, 8], "blocks": [1]}, "cannot have"),
        ({"widths": [], "blocks": []}, "cannot have"),
        ({"widths": 6}, "cannot have"),
        ({"widths": "wide", "blocks": [1, 1, 1, 1]}, "cannot have"),
        ({"widths": [[6], [8]], "blocks": [1, 1]}, "cannot have"),
        ({"widths": None}, "cannot have"),
        ({"width": 6}, "no option 'width'; it has blocks, restores_measured, widths"),
    ],
)
def test_a_card_with_absurd_options_is_refused_before_anything_is_allocated(
    tmp_path, options, words
):
    saved(tmp_path)
    rewrite_card(tmp_path, options=options)
    assert "card.json" in refused(tmp_path, words)


def test_a_card_of_another_size_is_refused(tmp_path):
    saved(tmp_path)
    rewrite_card(tmp_path, options={"widths": [1024, 1024], "blocks": [64, 64]})
    refused(tmp_path, "does not hold the weights that its card describes")


@pytest.mark.parametrize("architecture", ["aenet-fast", "nafnet", "aenet"])
def test_a_card_of_another_network_is_refused(tmp_path, architecture):
    saved(tmp_path)
    rewrite_card(tmp_path, architecture=architecture, options={})
    refused(tmp_path, "does not hold the weights that its card describes")


def test_a_network_outside_the_registry_is_refused(tmp_path):
    saved(tmp_path)
    rewrite_card(tmp_path, architecture="os.system")
    refused(tmp_path, r"no network 'os\.system'; choose from lateral")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 2}, "format_version"),
        ({"gap": 0.5}, "gap"),
        ({"gap": None}, "gap"),
        ({"role": "teacher"}, "role"),
        ({"halo": {"slices": 2, "lateral": 10**6}}, r"halo\.lateral"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_damaged_card_names_the_field(tmp_path, changes, words):
    saved(tmp_path)
    rewrite_card(tmp_path, **changes)
    refused(tmp_path, rf"card\.json is damaged or foreign: {words}: ")


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        (b"{", "damaged or foreign"),
        (b"", "damaged or foreign"),
        (b"[]", "damaged or foreign"),
        (b"\xff\xfe\x00card", "is not text"),
        (b" " * 2_000_000, "too large for a model card"),
    ],
)
def test_a_card_that_is_no_card_is_refused(tmp_path, blob, words):
    saved(tmp_path)
    (tmp_path / "card.json").write_bytes(blob)
    refused(tmp_path, words)


def test_what_is_missing_is_named(tmp_path):
    refused(tmp_path / "nowhere", r"no model folder at .*nowhere; train one, or check the path")
    refused(tmp_path, r"is not a model folder: it has no card\.json")
    saved(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    refused(tmp_path, r"weights\.safetensors cannot be read")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, bad):
    network = build_network("lateral", OPTIONS["lateral"])
    with torch.no_grad():
        network.stem.bias[0] = bad
    save_model(tmp_path, network, card_of(network, "lateral"))
    refused(tmp_path, "weights that are not finite; train the model again")


def test_weights_with_a_tensor_too_many_are_refused(tmp_path):
    network = saved(tmp_path)
    path = tmp_path / "weights.safetensors"
    save_file({**network.state_dict(), "extra": torch.zeros(3)}, path)
    rewrite_card(tmp_path, weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    refused(tmp_path, r"does not hold the weights .*\(first: extra\)")


def test_the_index_leads_to_the_default(tmp_path):
    saved(tmp_path / "prior", "lateral")
    saved(tmp_path / "student", "aenet-fast")
    index = ModelIndex(default="student", models=["prior", "student"], reason="0.4 dB better")
    save_index(tmp_path, index)
    assert load_index(tmp_path) == index
    assert load_card(tmp_path)[1] == tmp_path / "student"
    assert load_model(tmp_path).card.architecture == "aenet-fast"
    assert load_model(tmp_path / "prior").card.architecture == "lateral"
    assert load_index(tmp_path / "prior") is None


@pytest.mark.parametrize("name", ["../elsewhere", "..", ".", "", "a/b", "/etc"])
def test_an_index_cannot_leave_its_folder(tmp_path, name):
    saved(tmp_path / "elsewhere")
    for index in ({"default": name, "models": ["x"]}, {"default": "x", "models": [name]}):
        (tmp_path / "models").mkdir(exist_ok=True)
        (tmp_path / "models" / "models.json").write_text(json.dumps(index))
        refused(tmp_path / "models", "names a model outside its folder")


@pytest.mark.parametrize("text", ["{}", "nonsense", '{"default": "a", "models": []}'])
def test_a_damaged_index_is_refused(tmp_path, text):
    (tmp_path / "models.json").write_text(text)
    refused(tmp_path, r"models\.json is damaged or foreign")
