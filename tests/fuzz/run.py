"""Coverage-guided fuzzing of parsers, by atheris (``pip install atheris``, Python 3.11).

python -m tests.fuzz.run TARGET ... [libFuzzer options, such as -runs=100000 -max_len=4096]

One target after the other, each in a process of its own; all of them where none is named.

Begins with valid files and with what is in ``corpus/TARGET``. Below the working directory
``fuzz/TARGET`` collects inputs that reach new code, and ``fuzz/failed/TARGET`` one input of each
kind that ended in anything but an error in words: mend the parser, and put the input into the
corpus, which every run of the tests repeats.
"""

import hashlib
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["napari_d2r"]):
    from tests.fuzz import targets

CORPUS = Path(__file__).parent / "corpus"


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
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    reached, failed = Path("fuzz") / name, Path("fuzz") / "failed" / name
    reached.mkdir(parents=True, exist_ok=True)
    for number, blob in enumerate(targets.TARGETS[name].seeds(folder)):
        (reached / f"seed{number}").write_bytes(blob)
        targets.TARGETS[name].feed(blob, folder)  # whatever is imported late is imported now
    for known in (CORPUS / name).glob("*"):
        shutil.copy(known, reached)

    def feed(blob: bytes) -> None:
        try:
            targets.fed(name, blob, folder)
        except Exception as error:  # noqa: BLE001  one of a kind is kept, and the search goes on
            kind = hashlib.sha256(_kind(error).encode()).hexdigest()[:8]
            if not (failed / kind).exists():
                failed.mkdir(parents=True, exist_ok=True)
                (failed / kind).write_bytes(blob)
                (failed / f"{kind}.txt").write_text(traceback.format_exc(), "utf-8")

    atheris.Setup([sys.argv[0], *options, str(reached)], feed)
    atheris.Fuzz()


def _kind(error: Exception) -> str:
    """Its type, and the last line of ours that it rose through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "napari_d2r" in frame.filename]
    return f"{type(error).__name__} {ours[-1].filename}:{ours[-1].lineno}" if ours else str(error)


if __name__ == "__main__":
    main()
