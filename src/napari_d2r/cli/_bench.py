"""``napari-d2r bench``: what this machine reaches."""

from __future__ import annotations

import argparse

from napari_d2r.cli._options import AddParser, add_device
from napari_d2r.cli._progress import Reporter
from napari_d2r.cli._results import drain, write_json
from napari_d2r.jobs import CancelToken, Outcome


def add_bench(add: AddParser) -> None:
    """Declare the command."""
    parser = add("bench", help="measure this machine: networks, their share of its peak, the disk")
    parser.add_argument("--quick", action="store_true", help="a shorter, less certain look")
    add_device(parser)
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON; - for stdout")
    parser.set_defaults(run=run_bench_command, if_memory_ends="use a machine with more")


def run_bench_command(
    arguments: argparse.Namespace, cancel: CancelToken, reporter: Reporter
) -> Outcome:
    """Measure and print."""
    from napari_d2r.stages.bench import bench_stream

    events = bench_stream(device=arguments.device or "auto", quick=arguments.quick, cancel=cancel)
    outcome, report = drain(events, reporter)
    if outcome is Outcome.COMPLETED:
        reporter.print([report.table()])
        write_json(arguments.json, report.to_json())
    return outcome
