"""A spread of the steps at which a run can be killed; all of them take hours, see `kill_points`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_killed_at_any_step_a_run_is_resumed_to_the_same_bytes() -> None:
    command = [sys.executable, "-m", "tests.faults.kill_points", "--points", "16"]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("16 of 16 resumed\n")
