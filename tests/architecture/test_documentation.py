"""What the documentation promises exists, and what exists is documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from napari_d2r.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]
COMMANDS = (
    "demo",
    "info",
    "train",
    "super-resolve",
    "evaluate",
    "audit",
    "fsc",
    "degrade",
    "models import",
    "benchmark",
)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def options_of(command: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    return set(OPTION.findall(capsys.readouterr().out)) - {"--help"}


def documented_options() -> dict[str, set[str]]:
    """Command to options, from the table of docs/command-line.md."""
    found: dict[str, set[str]] = {command: set() for command in COMMANDS}
    for line in (REPOSITORY / "docs" / "command-line.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 3 and OPTION.match(cells[0].strip("`")):
            for command in COMMANDS:
                everyone = cells[1].startswith("all") and not command.startswith(("demo", "models"))
                if everyone or command in cells[1].split(", "):
                    found[command] |= set(OPTION.findall(cells[0]))
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_documented(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert options_of(command, capsys) == documented_options()[command]
