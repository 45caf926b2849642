"""Arguments, signals and exit codes.

Exit codes: 0 done, 1 failed, 2 bad input, 3 partial and resumable, 4 disk full, 75 stopped
by the system and resumable (requeue), 130 cancelled.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from napari_d2r.cli._audit import add_audit
from napari_d2r.cli._bench import add_bench
from napari_d2r.cli._benchmark import add_benchmark
from napari_d2r.cli._degrade import add_degrade
from napari_d2r.cli._demo import add_demo
from napari_d2r.cli._export import add_export
from napari_d2r.cli._info import add_info
from napari_d2r.cli._measure import add_evaluate, add_fsc
from napari_d2r.cli._models import add_models
from napari_d2r.cli._options import require_reports
from napari_d2r.cli._progress import Reporter
from napari_d2r.cli._super_resolve import add_super_resolve
from napari_d2r.cli._train import add_train
from napari_d2r.cli._verify import add_verify
from napari_d2r.cli._wire import wire
from napari_d2r.errors import D2RError, explain, is_out_of_memory
from napari_d2r.jobs import CancelToken, Outcome

_BY_TORCHRUN = "TORCHELASTIC_RUN_ID"  # set in the processes that it begins
DONE, FAILED, BAD_INPUT, PARTIAL, DISK_FULL, REQUEUE, CANCELLED = 0, 1, 2, 3, 4, 75, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    arguments = build_parser().parse_args(argv)
    with _signals() as stop:
        if not getattr(arguments, "events", False):
            return _run(arguments, stop, Reporter(), lambda sentence: None)
        with wire(stop.token) as reporter:
            try:
                return _run(arguments, stop, reporter, reporter.fail)
            except Exception as error:
                reporter.fail(explain(error))
                raise


def _run(
    arguments: argparse.Namespace,
    stop: _Stop,
    reporter: Reporter,
    tell_failure: Callable[[str], None],
) -> int:
    """The exit code of a command; ``tell_failure`` gets the sentence where there is one."""

    def refuse(sentence: str, code: int) -> int:
        tell_failure(sentence)
        with suppress(OSError):  # stderr may be gone
            sys.stderr.write(f"napari-d2r: {sentence}\n")
        return code

    try:
        require_reports(arguments)
        outcome: Outcome = arguments.run(arguments, stop.token, reporter)
    except D2RError as error:
        return refuse(str(error), error.exit_code)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return refuse(f"There is not enough memory; {arguments.if_memory_ends}.", FAILED)
    except OSError as error:
        sentence = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return refuse(sentence, DISK_FULL if is_full else FAILED)
    except KeyboardInterrupt:
        return CANCELLED
    if outcome is Outcome.COMPLETED:
        return DONE
    return PARTIAL if outcome is Outcome.OUT_OF_TIME else stop.exit_code


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="napari-d2r", description="Axial super-resolution of volume microscopy."
    )
    parser.set_defaults(if_memory_ends="use a smaller volume")
    add = parser.add_subparsers(title="commands", required=True, metavar="COMMAND").add_parser
    for declare in (
        add_demo,
        add_info,
        add_train,
        add_super_resolve,
        add_evaluate,
        add_fsc,
        add_audit,
        add_degrade,
        add_models,
        add_bench,
        add_benchmark,
        add_verify,
        add_export,
    ):
        declare(add)
    return parser


class _Stop:
    """A cancel token, and the exit code that says who asked."""

    def __init__(self) -> None:
        self.token = CancelToken()
        self.exit_code = CANCELLED

    def __call__(self, number: int, frame: object) -> None:
        if self.token and _BY_TORCHRUN in os.environ:
            return  # it passes on the Ctrl-C that we got as well, and kills us if we are slow
        if self.token:  # asked twice: no more patience
            raise KeyboardInterrupt
        self.exit_code = CANCELLED if number == signal.SIGINT else REQUEUE
        self.token.cancel()
        sys.stderr.write("\nstopping; what is finished is kept\n")


@contextmanager
def _signals() -> Iterator[_Stop]:
    """Turn Ctrl-C, SIGTERM and SIGUSR1 into a request to stop, and put things back after."""
    stop = _Stop()
    names = [name for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]
    before = {}
    with suppress(ValueError):  # outside the main thread nobody sends us signals
        before = {n: signal.signal(getattr(signal, n), stop) for n in names}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
