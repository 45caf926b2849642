"""Several processes train one network: as one process would, and never for ever.

Run as a script, this file is one of those processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from napari_d2r.errors import InputError, TrainingError
from napari_d2r.jobs import (
    TRAINING_LOSS,
    CancelToken,
    LossSettings,
    NetworkSettings,
    OptimizerSettings,
    Outcome,
    PriorSettings,
    Scalars,
    StudentSettings,
)
from napari_d2r.models import ARCHITECTURES, build_network
from napari_d2r.training import (
    ALONE,
    PRIOR_TASKS,
    STUDENT_TASKS,
    FitResult,
    Ranks,
    Task,
    device_of_rank,
    fit,
    joined,
    ranks_told,
)
from napari_d2r.training import _loop as loop
from napari_d2r.training._state import load_state

CPU = torch.device("cpu")
U_NET = {"width": 8, "multipliers": [1, 2], "blocks": 1}
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "lateral": {"widths": [8, 8], "blocks": [1, 1]},
    "care-unet": {"width": 4},
    "nafnet": {"width": 8, "encoder_blocks": [1], "decoder_blocks": [1]},
    "aenet": {"width": 4},
    "aenet-fast": {"widths": [8, 8], "blocks": [1, 1]},
    "dgean": {"width": 4},
    "srunet": {"factor": 4, "widths": [3, 4, 4]},
    "ddpm-unet": U_NET,
    "ms-unet": U_NET,
    "msdsr-unet": U_NET,
    "e2e-unet": U_NET,
    "emdiffuse-unet": U_NET,
}
STEPS = 4
DIES, DIED = 2, 9  # after so many steps, with this exit code


def learner(architecture: str) -> tuple[nn.Module, Task, OptimizerSettings]:
    """In float64, so that only rounding differs, and that far below what is looked for."""
    optimizer = OptimizerSettings(
        method="muon",
        max_steps=STEPS,
        batch=3,  # which two cannot share evenly
        learning_rate=0.01,
        warmup_steps=1,
        validate_every=3,
    )
    contract = ARCHITECTURES[architecture].contract
    torch.manual_seed(0)
    network = build_network(architecture, OPTIONS[architecture]).double()
    stack = torch.from_numpy(np.random.default_rng(0).random((8, 28, 26)))
    how = {
        "optimizer": optimizer,
        "network": NetworkSettings(architecture=architecture),
        "loss": LossSettings(l1=1, l2=1),
    }
    if contract in PRIOR_TASKS:
        prior = PriorSettings(**how, prediction="noise", num_gaps=3, columns=16)
        return network, PRIOR_TASKS[contract](stack, 4.0, prior), optimizer
    student = StudentSettings(**how, crop=16, block_slices=3)
    pseudo_hr = stack.repeat_interleave(4, 0)[:29]
    return network, STUDENT_TASKS[contract](pseudo_hr, stack, 4.0, student), optimizer


def fitted(
    architecture: str,
    folder: Path,
    ranks: Ranks = ALONE,
    *,
    cancel_at: int | None = None,
    dies: bool = False,
    resume: bool = False,
) -> tuple[nn.Module, list[float], FitResult]:
    """The network, its loss at every step, and how it ended."""
    network, task, settings = learner(architecture)
    cancel, draw, steps = CancelToken(), task.loss, []
    task.examples = task.examples[:1]  # judging takes most of the time

    def watched(shared: nn.Module, rng: np.random.Generator) -> Tensor:
        steps.append(1)
        if len(steps) == cancel_at:
            cancel.cancel()
        if dies and len(steps) > DIES:
            os._exit(DIED)
        return draw(shared, rng)

    task.loss = watched
    how = {"seed": 3, "device": CPU, "identity": "ranks", "resume": resume}
    events = fit(
        network,
        task,
        settings,
        state_path=folder / architecture,
        cancel=cancel,
        ranks=ranks,
        **how,
    )
    losses = []
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return network, losses, end.value
        if isinstance(event, Scalars) and TRAINING_LOSS in event.values:
            losses.append(event.values[TRAINING_LOSS])


@pytest.fixture(autouse=True)
def told_and_saved_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "REPORT_EVERY_S", 0)
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0)


def one_rank(what: str, folder: Path) -> None:
    """What a process does that a test began."""
    loop.REPORT_EVERY_S = loop.SAVE_EVERY_S = 0
    with joined(CPU) as ranks:
        if what == "dies":
            fitted("lateral", folder, ranks, dies=not ranks.is_first)
        for architecture in OPTIONS:
            network, losses, _ = fitted(architecture, folder, ranks)
            keep(network, losses, folder / f"{architecture}-{ranks.index}")
        last = fitted("nafnet", folder / "parts", ranks, cancel_at=None if ranks.is_first else 2)
        assert (last[2].outcome, last[2].steps) == (Outcome.CANCELLED, 2)
        fitted("lateral", folder / "more", ranks, resume=True)
    (folder / f"{ranks.index}.threads").write_text(" ".join(native_threads()), "utf-8")


def native_threads() -> list[str]:
    """Names of all threads of this process, those of C++ too; empty where nobody tells."""
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]


def keep(network: nn.Module, losses: list[float], path: Path) -> None:
    path.with_suffix(".json").write_text(json.dumps(losses), "utf-8")
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, path.with_suffix(".safetensors"))


def begun(what: str, folder: Path, count: int = 2) -> list[tuple[int, str]]:
    """Exit codes of so many processes, and what they said."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # as torchrun does
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, __file__, what, str(folder)]
    processes = [
        subprocess.Popen(
            command,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        # Before one that is silent would be given up: one that is gone is noticed at once.
        said = [process.communicate(timeout=500)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left behind: every network, one stopped in the middle, one resumed."""
    folder = tmp_path_factory.mktemp("two")
    fitted("lateral", folder / "more", cancel_at=2)
    for code, said in begun("trains", folder):
        assert code == 0, said
    return folder


def weights_of(path: Path) -> dict[str, Tensor]:
    return load_file(path.with_suffix(".safetensors"))


def require_close(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.allclose(tensor, other[name], rtol=0, atol=1e-9), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_two_processes_learn_what_one_does(of_two: Path, tmp_path: Path, architecture: str) -> None:
    network, losses, _ = fitted(architecture, tmp_path)
    assert len(losses) == STEPS
    told = [json.loads((of_two / f"{architecture}-{n}.json").read_text("utf-8")) for n in (0, 1)]
    assert told[0] == told[1] == pytest.approx(losses, rel=1e-9)
    first, second = (weights_of(of_two / f"{architecture}-{n}") for n in (0, 1))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    require_close(first, network.state_dict())


@pytest.mark.skipif(sys.platform != "linux", reason="no other system names threads in /proc")
def test_no_thread_outlives_the_training(of_two: Path) -> None:
    """One that ends with the interpreter aborts it now and then."""
    for rank in (0, 1):
        names = (of_two / f"{rank}.threads").read_text("utf-8")
        assert "python" in names
        assert "gloo" not in names


def test_all_stop_at_the_step_at_which_one_is_asked_to(of_two: Path, tmp_path: Path) -> None:
    """And one process goes on where two stopped."""
    assert load_state(of_two / "parts" / "nafnet", "ranks", CPU)[0].step == 2
    resumed, _, result = fitted("nafnet", of_two / "parts", resume=True)
    assert (result.outcome, result.steps) == (Outcome.COMPLETED, STEPS)
    require_close(resumed.state_dict(), fitted("nafnet", tmp_path)[0].state_dict())


def test_two_go_on_where_one_stopped(of_two: Path, tmp_path: Path) -> None:
    counters, tensors = load_state(of_two / "more" / "lateral", "ranks", CPU)
    assert counters.step == STEPS
    fitted("lateral", tmp_path)
    require_close(tensors, load_state(tmp_path / "lateral", "ranks", CPU)[1])


def test_a_process_that_dies_ends_the_others(tmp_path: Path) -> None:
    """With a sentence and at once; and the last checkpoint is good."""
    (first, said), (second, _) = begun("dies", tmp_path)
    assert second == DIED
    assert first == 1
    assert "TrainingError: Another process of this training ended" in said
    assert load_state(tmp_path / "lateral", "ranks", CPU)[0].step == DIES
    resumed, _, result = fitted("lateral", tmp_path, resume=True)
    assert result.steps == STEPS
    require_close(resumed.state_dict(), fitted("lateral", tmp_path / "whole")[0].state_dict())


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert ranks_told() == ALONE
    with joined(CPU) as ranks:
        assert ranks == ALONE
        assert ranks.most(3.0, -1.0) == (3.0, -1.0)
        ranks.require_same(7, "input")
    network = nn.Linear(1, 1)
    assert ranks.sharing(network) is network
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")  # of one process, which torchrun began
    assert ranks_told() == ALONE


def test_a_process_takes_the_gpu_that_torchrun_gave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    assert device_of_rank(cuda) == cuda
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of_rank(cuda) == torch.device("cuda", 1)
    assert device_of_rank(CPU) == CPU
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match=r"has 2 GPUs and more processes.*--nproc-per-node 2"):
        device_of_rank(cuda)
    with pytest.raises(InputError, match="not on mps"):
        device_of_rank(torch.device("mps"))


def test_processes_that_see_something_else_do_not_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ranks, "most", lambda self, *values: (8.0, -7.0))
    with pytest.raises(TrainingError, match="do not see the same checkpoint; give all of them"):
        Ranks(1, 2).require_same(7, "checkpoint")


if __name__ == "__main__":
    torch.set_num_threads(1)
    one_rank(sys.argv[1], Path(sys.argv[2]))
