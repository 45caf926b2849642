"""How many branches of our parsing code the corpus and the valid files take.

python -m tests.fuzz.covered [folders in the shape of ``corpus``]     (``pip install coverage``)

Every target is fed its valid files and its corpus, in this process. `parsers.py` says which code
counts. Told are the branches of each file, then the lines whose branches are left.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import coverage

from tests.fuzz.parsers import PARSERS, SOURCE, parses

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    meter = coverage.Coverage(branch=True, source_pkgs=["napari_d2r"], data_file=None)
    meter.start()
    replay([CORPUS, *map(Path, sys.argv[1:])])
    meter.stop()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        meter.json_report(outfile=str(report))
        show(json.loads(report.read_text("utf-8")))


def replay(corpora: list[Path]) -> None:
    """Feed what there is; whatever is no error in words rises."""
    from tests.fuzz.targets import TARGETS, fed  # here, so that what imports do is seen

    for name, target in TARGETS.items():
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            for blob in target.seeds(place):
                fed(name, blob, place)
            for corpus in corpora:
                for path in sorted((corpus / name).glob("*")):
                    fed(name, path.read_bytes(), place)


def show(report: dict[str, Any]) -> None:
    functions = {
        Path(file).resolve(): about["functions"] for file, about in report["files"].items()
    }
    told, left, taken_in_all, known_in_all = [], [], 0, 0
    for file in PARSERS:
        ours = {
            name: about
            for name, about in functions.get(SOURCE / file, {}).items()
            if parses(file, name)
        }
        taken = sum(about["summary"]["covered_branches"] for about in ours.values())
        known = sum(about["summary"]["num_branches"] for about in ours.values())
        told.append(f"{taken:5} of {known:5}  {file}")
        left += [
            f"{file}:{line} to {other} ({name})"
            for name, about in ours.items()
            for line, other in about["missing_branches"]
        ]
        taken_in_all, known_in_all = taken_in_all + taken, known_in_all + known
    share = f"{taken_in_all} of {known_in_all} branches: {taken_in_all / known_in_all:.1%}"
    print("\n".join((*told, "not taken:", *left, share)))  # noqa: T201


if __name__ == "__main__":
    main()
