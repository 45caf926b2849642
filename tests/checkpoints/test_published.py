"""Weights of D2R and IR-SDE: the same network under other names; nothing of a file is believed."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from napari_d2r.checkpoints import import_published, load_model, render_card
from napari_d2r.errors import InputError, ModelFileError
from napari_d2r.models import ConditionalNAFNet, NAFNetConfig
from napari_d2r.volumes import VoxelSize

pytestmark = pytest.mark.usefixtures("home")
SIZE = VoxelSize(80, 10, 10)
SMALL = NAFNetConfig(width=16, encoder_blocks=(2, 1), decoder_blocks=(1, 2), frozen_pooling=False)
Weights = dict[str, Tensor]

# Ours, and theirs.
BLOCK = {
    "modulate": "mlp.1",
    "expand": "conv1",
    "depthwise": "conv2",
    "weigh": "sca.1",
    "project": "conv3",
    "mix_in": "conv4",
    "mix_out": "conv5",
}
OTHER = {
    "time.rise": "time_mlp.1",
    "time.mix": "time_mlp.3",
    "stem.convolutions.": "enhance.rcab.",
    "stem.weigh.0": "enhance.rcab.3.attention.1",
    "stem.weigh.2": "enhance.rcab.3.attention.3",
    "norm_space.gain": "norm1.g",
    "norm_channels.gain": "norm2.g",
}


def network(config: NAFNetConfig = SMALL) -> ConditionalNAFNet:
    torch.manual_seed(0)
    made = ConditionalNAFNet(config)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made.eval()


def theirs(ours: ConditionalNAFNet) -> Weights:
    """In the published layout: gates are convolutions, gains have four axes."""
    found = {}
    for key, value in ours.state_dict().items():
        name = key
        for here, there in OTHER.items():
            name = name.replace(here, there)
        if re.match(r"(encoder|middle|decoder)\.", key):
            for here, there in BLOCK.items():
                name = name.replace(f".{here}.", f".{there}.")
        name = re.sub("^encoder", "encoders", name)
        name = re.sub("^decoder", "decoders", name)
        name = re.sub("^middle", "middle_blks", name)
        name = re.sub(r"^down\.", "downs.", name)
        name = re.sub(r"^up\.(\d)", r"ups.\1.0", name)
        if name.endswith((".g", "beta", "gamma")):
            value = value[None]
        elif ".sca." in name or "attention" in name:
            value = value[..., None, None] if name.endswith("weight") else value
        found[name] = value
    return found


def saved(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def output(one: torch.nn.Module) -> Tensor:
    x = torch.rand(2, 2, 20, 24, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return one(x, torch.tensor([3.0, 71.0]))


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda w: w,
        lambda w: {f"module.{key}": value for key, value in w.items()},
        lambda w: {"epoch": 3, "params_ema": w},
        lambda w: {"state_dict": {"params": {key: value.half() for key, value in w.items()}}},
    ],
)
def test_the_same_output_under_other_names(
    tmp_path: Path, home: Path, wrapped: Callable[[Weights], Any]
) -> None:
    original = network()
    file = saved(tmp_path / "EPFL.pth", wrapped(theirs(original)))
    folder = import_published(file, SIZE)
    assert folder == home / "models" / "EPFL"
    model = load_model(folder)
    for ours, imported in zip(original.parameters(), model.network.parameters(), strict=True):
        torch.testing.assert_close(imported, ours, rtol=2e-3, atol=1e-4)
    torch.testing.assert_close(output(model.network), output(original), rtol=0.02, atol=0.02)
    assert (model.card.gap, model.card.prediction, model.card.sampler.steps) == (8, "noise", 100)
    text = render_card(model.card)
    assert "**Developed by:** whoever published the weights" in text
    assert re.search(r"Converted from EPFL\.pth, SHA-256 [0-9a-f]{64}\.", text)


def test_full_floats_come_through_bit_by_bit(tmp_path: Path) -> None:
    original = network()
    folder = import_published(saved(tmp_path / "a.pth", theirs(original)), SIZE, name="b")
    assert torch.equal(output(load_model(folder).network), output(original))


def test_without_the_stem_of_d2r(tmp_path: Path) -> None:
    """IR-SDE has none: what the first convolution says goes on as it is."""

    class Unstemmed(torch.nn.Module):
        def forward(self, x: Tensor, _: Tensor) -> Tensor:
            return torch.zeros_like(x)

    original = network()
    weights = {k: v for k, v in theirs(original).items() if not k.startswith("enhance.")}
    original.stem = Unstemmed()
    folder = import_published(saved(tmp_path / "a.pth", weights), SIZE)
    assert torch.equal(output(load_model(folder).network), output(original))


class Hostile:
    """Unpickling it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def repacked(path: Path, change: Callable[[bytes], bytes], compression: int) -> Path:
    """The same file with another pickle in it."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, change(content) if name.endswith("data.pkl") else content)
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_program_is_not_run(tmp_path: Path, home: Path, protocol: int) -> None:
    mark = tmp_path / "mark"
    content = {**theirs(network()), "note": Hostile(mark)}
    bare = tmp_path / "bare.pth"
    bare.write_bytes(pickle.dumps(Hostile(mark), protocol))
    files = [bare, saved(tmp_path / "zipped.pth", content, pickle_protocol=max(2, protocol))]
    for file in files:
        with pytest.raises(
            ModelFileError, match=r"is not opened|no sound file of weights"
        ) as error:
            import_published(file, SIZE)
        assert "\n" not in str(error.value)
    if protocol == 2:
        assert "asks for 'posix.system'" in str(error.value)
    assert not mark.exists()
    assert not any((home / "models").iterdir())


def test_no_memory_is_asked_for(tmp_path: Path) -> None:
    """``bytearray`` is a word that torch lets pass."""
    bomb = b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\x00\x00\x00\x10\x85R."
    file = repacked(saved(tmp_path / "a.pth", theirs(network())), lambda _: bomb, 0)
    with pytest.raises(ModelFileError, match=r"asks for '__builtin__\.bytearray'"):
        import_published(file, SIZE)
    file = repacked(saved(tmp_path / "a.pth", theirs(network())), lambda b: b + b"N" * 2**19, 0)
    with pytest.raises(ModelFileError, match="not a file of weights"):
        import_published(file, SIZE)
    file = repacked(saved(tmp_path / "a.pth", theirs(network())), lambda b: b, zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelFileError, match="is packed"):
        import_published(file, SIZE)


def other(**changes: Tensor) -> Callable[[], Any]:
    """The published layout with some tensors changed; dots are spelled ``__``."""
    return lambda: {**theirs(network()), **{k.replace("__", "."): v for k, v in changes.items()}}


def rgb() -> Any:
    return theirs(network(NAFNetConfig(width=16, in_channels=6, out_channels=3,
        encoder_blocks=(1,), decoder_blocks=(1,), frozen_pooling=False)))  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (other(encoders__0__0__conv1__weight=torch.zeros(7, 16, 1, 1)), r"is \(7, 16, 1, 1\), not"),
        (other(intro__weight=torch.zeros(1).expand(2000, 2, 3, 3)), "width is 2000, not 1 to 1024"),
        (other(intro__weight=torch.zeros(1).expand(1024, 2, 3, 3)), r"by our name, is"),
        (other(encoders__0__0__conv9__weight=torch.zeros(1)), r"it has 'encoders\.0\.0\.conv9"),
        (other(encoders__5__0__beta=torch.zeros(1, 16, 1, 1)), "nafnet cannot have"),
        (other(intro__bias=torch.zeros(16, dtype=torch.int64)), "by our name, is"),
        (other(ending__bias=torch.full((1,), float("nan"))), "not finite"),
        (rgb, "for images of 3 colours"),
        (lambda: torch.nn.Linear(2, 2).state_dict(), "it has 'weight', 'bias'"),
        (lambda: {"intro.weight": 3.0}, "which is no tensor"),
        (lambda: [torch.zeros(1)], "no tensors by name"),
        (dict, "no tensors by name"),
    ],
)
def test_what_is_another_network_is_refused(
    tmp_path: Path, home: Path, content: Callable[[], Any], words: str
) -> None:
    with pytest.raises(ModelFileError, match=words) as error:
        import_published(saved(tmp_path / "a.pth", content()), SIZE)
    assert "\n" not in str(error.value)
    assert not any((home / "models").iterdir())


def test_a_tensor_larger_than_its_file(tmp_path: Path) -> None:
    """10 000 million numbers over a storage of 16: refused before any is made."""
    file = saved(tmp_path / "a.pth", {"intro.weight": torch.zeros(16)})
    file = repacked(file, lambda b: b.replace(b"K\x10\x85", b"\x8a\x05\x00\xe4\x0bT\x02\x85"), 0)
    with pytest.raises(ModelFileError, match="damaged"):
        import_published(file, SIZE)


@pytest.mark.parametrize("cut", [0, 10, 1000, -100])
def test_torn_files(tmp_path: Path, cut: int) -> None:
    file = saved(tmp_path / "a.pth", theirs(network()))
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(ModelFileError, match="no sound file of weights"):
        import_published(file, SIZE)


def test_what_must_be_said(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.pth", theirs(network()))
    with pytest.raises(InputError, match="slices are further apart than pixels are"):
        import_published(file, VoxelSize(10, 10, 10))
    with pytest.raises(ModelFileError, match="not the file that was meant"):
        import_published(file, SIZE, sha256="0" * 64)
    import_published(file, SIZE)
    with pytest.raises(InputError, match="There is a model a already"):
        import_published(file, SIZE)
