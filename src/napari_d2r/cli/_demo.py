"""``napari-d2r demo``: the whole story on a built-in sample."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_d2r.cli._options import AddParser, positive
from napari_d2r.cli._progress import Reporter
from napari_d2r.cli._results import drain
from napari_d2r.jobs import CancelToken, Outcome


def add_demo(add: AddParser) -> None:
    """Declare the command."""
    parser = add("demo", help="sample, training, super-resolution, evaluation and figure; offline")
    parser.add_argument("--out", type=Path, default=Path("d2r-demo"), help="folder for all of it")
    parser.add_argument(
        "--max-minutes", type=positive, default=1.0, help="time for adapting (default: 1)"
    )
    parser.set_defaults(run=run_demo_command)


def run_demo_command(
    arguments: argparse.Namespace, cancel: CancelToken, reporter: Reporter
) -> Outcome:
    """Everything in one go."""
    from napari_d2r.demo import run_demo

    lines: list[str] = []
    events = run_demo(
        arguments.out, max_minutes=arguments.max_minutes, say=lines.append, cancel=cancel
    )
    outcome, _ = drain(events, reporter)
    reporter.print(lines)
    return outcome
