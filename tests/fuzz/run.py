"""Coverage-guided fuzzing of one parser, by atheris (``pip install atheris``, Python 3.11).

python -m tests.fuzz.run TARGET [libFuzzer options, such as -runs=100000 -max_len=4096]

Begins with valid files and with what is in ``corpus/TARGET``. An input that ends in anything
but an error in words is left as ``crash-...`` in the working directory: mend the parser, and
put the input into the corpus, which every run of the tests repeats.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["napari_d2r"]):
    from tests.fuzz import targets

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    name = sys.argv.pop(1)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    seeds = folder / "seeds"
    seeds.mkdir()
    for number, blob in enumerate(targets.TARGETS[name].seeds(folder)):
        (seeds / f"seed{number}").write_bytes(blob)
    for known in (CORPUS / name).glob("*"):
        shutil.copy(known, seeds)

    def feed(blob: bytes) -> None:
        targets.fed(name, blob, folder)

    atheris.Setup([sys.argv[0], *sys.argv[1:], str(seeds)], feed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
