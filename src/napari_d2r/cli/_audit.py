"""``napari-d2r audit``: a model on a stack whose truth is known, on one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_d2r.cli._options import AddParser, add_device, add_reading, open_stack
from napari_d2r.cli._progress import Reporter
from napari_d2r.cli._results import drain, write_json
from napari_d2r.jobs import CancelToken, Outcome


def add_audit(add: AddParser) -> None:
    """Declare the command."""
    parser = add("audit", help="drop slices of an isotropic stack, restore them, judge: one page")
    parser.add_argument("stack", help="isotropic: as fine along Z as laterally")
    parser.add_argument(
        "--drop", type=int, default=8, metavar="R", help="keep every R-th slice (default: 8)"
    )
    parser.add_argument("--model", type=Path, help="default: the bundled model")
    parser.add_argument(
        "--crop",
        type=int,
        default=256,
        metavar="N",
        help="judge the middle, at most N voxels along each axis (default: 256)",
    )
    parser.add_argument(
        "--out",
        dest="figure",
        type=Path,
        default=Path("audit.pdf"),
        metavar="FILE",
        help="the page: pdf, png or svg (default: audit.pdf)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON; - for stdout")
    add_device(parser)
    add_reading(parser)
    parser.set_defaults(
        run=run_audit_command, figure_option="--out", if_memory_ends="choose a smaller --crop"
    )


def run_audit_command(
    arguments: argparse.Namespace, cancel: CancelToken, reporter: Reporter
) -> Outcome:
    """Audit, print and draw."""
    from napari_d2r.figures import draw_audit
    from napari_d2r.stages.audit import audit_stream

    events = audit_stream(
        open_stack(arguments.stack, arguments),
        drop=arguments.drop,
        model=arguments.model,
        max_edge=arguments.crop,
        device=arguments.device or "auto",
        cancel=cancel,
    )
    outcome, report = drain(events, reporter)
    if outcome is Outcome.COMPLETED:
        reporter.print([report.text()])
        write_json(arguments.json, report.to_json())
        draw_audit(report, arguments.figure)
        reporter.print([f"page: {arguments.figure}"])
    return outcome
