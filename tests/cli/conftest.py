"""What the command line's tests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from napari_d2r.cli import main
from napari_d2r.jobs import TrainJob


@dataclass(frozen=True)
class Told:
    """How a command ended, and what it said where."""

    code: int
    out: str
    err: str


Run = Callable[..., Told]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process."""

    def command(*arguments: str | Path) -> Told:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:  # argparse
            code = ended.code
        return Told(code, *capsys.readouterr())

    return command


@pytest.fixture(scope="session")
def tiny_yaml(tiny_job: TrainJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny job in a file."""
    path = tmp_path_factory.mktemp("job") / "tiny.yaml"
    path.write_text(tiny_job.to_yaml(), "utf-8")
    return path
