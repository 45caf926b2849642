"""Coverage-guided fuzzing of parsers, by atheris (``pip install atheris``, Python 3.11).

python -m tests.fuzz.run TARGET ... [libFuzzer options, such as -runs=100000 -max_len=4096]

One target after the other, each in a process of its own; all of them where none is named.

Begins with valid files and with what is in ``corpus/TARGET``; what is JSON is changed in its values
more often than in its bytes. Below the working directory ``fuzz/TARGET`` collects inputs that reach
new code, ``fuzz/told/TARGET.json`` tells how many inputs there were and the processor time of the
slowest, and ``fuzz/failed/TARGET`` keeps one input of each kind that ended in anything but an error
in words: mend the parser, and put the input into the corpus, which every run of the tests repeats.
"""

import hashlib
import json
import logging
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import atheris

from tests.fuzz._values import with_other_values

with atheris.instrument_imports(include=["napari_d2r"]):
    from tests.fuzz import targets

CORPUS = Path(__file__).parent / "corpus"
_IN_MEMORY = "/dev/shm"  # a disk would take most of the time
_ANEW_SHARE, _VALUES_SHARE, _TELL_EVERY = 0.3, 0.7, 100


def main() -> None:
    named = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    for name in named or targets.TARGETS:
        print(f"===== {name}", flush=True)  # noqa: T201
        pid = os.fork()
        if pid == 0:
            fuzz(name, options)
        os.waitpid(pid, 0)


def fuzz(name: str, options: list[str]) -> None:
    """Search one target to the end of its options, and end this process."""
    in_memory = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=in_memory))
    reached, failed = Path("fuzz") / name, Path("fuzz") / "failed" / name
    told = Path("fuzz") / "told" / f"{name}.json"
    for made in (reached, told.parent):
        made.mkdir(parents=True, exist_ok=True)
    began = json.loads(told.read_text("utf-8")) if told.exists() else {}
    so_far = {"inputs": 0, "slowest_s": 0.0, **began}
    for number, blob in enumerate(targets.TARGETS[name].seeds(folder)):
        (reached / f"seed{number}").write_bytes(blob)
        targets.TARGETS[name].feed(blob, folder)  # whatever is imported late is imported now
    for known in (CORPUS / name).glob("*"):
        shutil.copy(known, reached)

    def feed(blob: bytes) -> None:
        began = time.process_time()
        try:
            targets.fed(name, blob, folder)
        except Exception as error:  # noqa: BLE001  one of a kind is kept, and the search goes on
            kind = hashlib.sha256(_kind(error).encode()).hexdigest()[:8]
            if not (failed / kind).exists():
                failed.mkdir(parents=True, exist_ok=True)
                (failed / kind).write_bytes(blob)
                (failed / f"{kind}.txt").write_text(traceback.format_exc(), "utf-8")
        so_far["inputs"] += 1
        so_far["slowest_s"] = max(so_far["slowest_s"], time.process_time() - began)
        if so_far["inputs"] % _TELL_EVERY == 0:  # libFuzzer does not say when it ends
            told.write_text(json.dumps(so_far), "utf-8")

    known = [path.read_bytes() for path in reached.iterdir()]

    def changed(blob: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < _ANEW_SHARE:  # libFuzzer drops what takes no branch of ours alone
            blob = rng.choice(known)[:most]
        other = with_other_values(blob, rng) if rng.random() < _VALUES_SHARE else None
        return atheris.Mutate(blob, most) if other is None or len(other) > most else other

    logging.disable()
    atheris.Setup([sys.argv[0], *options, str(reached)], feed, custom_mutator=changed)
    atheris.Fuzz()


def _kind(error: Exception) -> str:
    """Its type, and the last line of ours that it rose through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "napari_d2r" in frame.filename]
    return f"{type(error).__name__} {ours[-1].filename}:{ours[-1].lineno}" if ours else str(error)


if __name__ == "__main__":
    main()
