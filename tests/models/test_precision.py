"""16-bit floats are used where a device has instructions for them, and never where it has not."""

from __future__ import annotations

import pytest
import torch

from napari_d2r.models import has_bfloat16, training_type

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("instructions", "has"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({}, False),
    ],
)
def test_a_processor_is_asked(
    instructions: dict[str, bool], has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    assert has_bfloat16(CPU) is has
    assert training_type(CPU) is (torch.bfloat16 if has else None)


@pytest.mark.parametrize(
    ("generation", "wanted"),
    [((6, 1), None), ((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)],
)
def test_older_gpus_learn_in_float16_because_they_emulate_bfloat16(
    generation: tuple[int, int], wanted: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: generation)
    assert training_type(CUDA) is wanted
    assert has_bfloat16(CUDA) is (wanted is torch.bfloat16)


def test_an_apple_gpu_learns_in_float32() -> None:
    assert training_type(torch.device("mps")) is None
