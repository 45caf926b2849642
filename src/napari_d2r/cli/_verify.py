"""``napari-d2r verify``: whether a result still holds what was written."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_d2r.cli._options import AddParser
from napari_d2r.cli._progress import Reporter
from napari_d2r.cli._results import drain, write_json
from napari_d2r.errors import DamagedError
from napari_d2r.jobs import CancelToken, Outcome


def add_verify(add: AddParser) -> None:
    """Declare the command."""
    parser = add("verify", help="read a result, or an interrupted run, against its checksums")
    parser.add_argument("result", type=Path, help="*.ome.zarr that super-resolve wrote")
    parser.add_argument(
        "--mend",
        action="store_true",
        help="of an interrupted run, delete what is damaged, so that --resume computes it again",
    )
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON; - for stdout")
    parser.set_defaults(run=run_verify)


def run_verify(arguments: argparse.Namespace, cancel: CancelToken, reporter: Reporter) -> Outcome:
    """Fails where something is damaged and not mended."""
    from napari_d2r.stages.verify import verify_stream

    events = verify_stream(arguments.result, mend=arguments.mend, cancel=cancel)
    outcome, report = drain(events, reporter)
    if outcome is not Outcome.COMPLETED:
        return outcome
    write_json(arguments.json, report.summary())
    head, *rest = report.lines()
    if report.damaged and not report.is_mended:
        reporter.print(rest)
        raise DamagedError(head)
    reporter.print((head, *rest))
    return outcome
