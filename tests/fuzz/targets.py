"""What is fuzzed: every parser of ours, fed bytes; only an error in words may come of it."""

from __future__ import annotations

import logging
import resource
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_d2r.errors import D2RError
from tests.fuzz._images import IMAGES
from tests.fuzz._models import MODELS
from tests.fuzz._slices import SLICES
from tests.fuzz._stores import STORES
from tests.fuzz._target import Target
from tests.fuzz._texts import TEXTS

logging.getLogger("tifffile").disabled = True  # it has much to say of damaged files

TARGETS: Mapping[str, Target] = {**IMAGES, **SLICES, **STORES, **MODELS, **TEXTS}
# A second on a quiet machine; a busy one needs more of its processor for the same.
_MOST_S, _MOST_BYTES = 4.0, 300 * 2**20
_FORGET = Path("/proc/self/clear_refs")


def fed(name: str, blob: bytes, folder: Path) -> bool:
    """Feed a target, in a folder of its own; whether it took the bytes.

    Whatever is not an error in words rises, and so do 4 seconds of processor time or 300 MiB
    of memory more than before.
    """
    with warnings.catch_warnings(), bounded():
        warnings.simplefilter("ignore")
        try:
            TARGETS[name].feed(blob, folder)
        except D2RError as error:
            sentence = str(error)
            assert sentence.strip() and "\n" not in sentence, sentence
            return False
    return True


@contextmanager
def bounded() -> Iterator[None]:
    """What is done within may take 4 seconds of the processor and 300 MiB."""
    before, began = _forgotten_peak_bytes(), time.process_time()
    yield
    seconds, grown = time.process_time() - began, _peak_bytes() - before
    assert seconds < _MOST_S, f"{seconds:.1f} s"
    assert grown < _MOST_BYTES, f"{grown / 2**20:.0f} MiB"


def _forgotten_peak_bytes() -> int:
    """The peak so far, which Linux can forget, so that one input does not hide the next."""
    with suppress(OSError):
        _FORGET.write_text("5")
    return _peak_bytes()


def _peak_bytes() -> int:
    if sys.platform == "linux":  # getrusage counts what a parent process had in use, too
        status = Path("/proc/self/status").read_text("ascii", "replace")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
