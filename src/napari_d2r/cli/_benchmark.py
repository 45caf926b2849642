"""``napari-d2r benchmark``: methods side by side on one isotropic volume."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_d2r.cli._options import STACK_HELP, AddParser, add_reading, add_running, open_stack
from napari_d2r.cli._progress import Reporter
from napari_d2r.cli._results import drain, write_json
from napari_d2r.jobs import PHANTOM, CancelToken, Outcome, load_suite, suite_names


def add_benchmark(add: AddParser) -> None:
    """Declare the command."""
    parser = add("benchmark", help="train and run the methods of a suite, and compare them")
    parser.add_argument("suite", help=f"a YAML file, or one of {', '.join(suite_names())}")
    parser.add_argument(
        "volume", nargs="?", help=f"isotropic truth ({STACK_HELP}), or phantom; else the suite's"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for all of it")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="this method; may be repeated"
    )
    parser.add_argument(
        "--reference", type=Path, help="another isotropic volume, for supervised methods"
    )
    add_reading(parser)
    add_running(parser)
    parser.set_defaults(run=run_benchmark_command, if_memory_ends="choose a smaller crop")


def run_benchmark_command(
    arguments: argparse.Namespace, cancel: CancelToken, reporter: Reporter
) -> Outcome:
    """Run the suite, or print the plan."""
    from napari_d2r.figures import draw_benchmark
    from napari_d2r.stages.benchmark import resolve_benchmark, run_benchmark

    suite = load_suite(arguments.suite)
    changes = {"device": arguments.device, "seed": arguments.seed, "minutes": arguments.max_minutes}
    given = {name: value for name, value in changes.items() if value is not None}
    volume = None
    if arguments.volume == str(PHANTOM):
        given["volume"] = PHANTOM
    elif arguments.volume is not None:
        volume = open_stack(arguments.volume, arguments)
    plan = resolve_benchmark(
        type(suite).checked(suite.model_dump() | given),
        volume,
        arguments.out,
        reference=arguments.reference,
        only=arguments.only,
    )
    if arguments.dry_run:
        reporter.print(plan.lines())
        return Outcome.COMPLETED
    events = run_benchmark(
        plan, resume=arguments.resume, overwrite=arguments.overwrite, cancel=cancel
    )
    outcome, report = drain(events, reporter)
    if outcome is Outcome.COMPLETED:
        reporter.print([report.table()])
        figures = draw_benchmark(report)
        reporter.print([f"tables in {plan.folder}, {len(figures)} figures beside the results"])
        write_json(arguments.json, report.to_json())
    else:
        reporter.say(f"what is done is kept in {plan.folder}; go on with --resume")
    return outcome
