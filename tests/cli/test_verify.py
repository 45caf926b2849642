"""``verify`` on the command line: exit code, words and report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def test_a_whole_and_a_damaged_result(
    run: Any, phantom_files: tuple[Path, Path], tmp_path: Path
) -> None:
    path, report = tmp_path / "out.ome.zarr", tmp_path / "report.json"
    assert run("super-resolve", phantom_files[0], path, "--model", "linear").code == 0
    told = run("verify", path, "--json", report)
    assert (told.code, told.err.count("damaged")) == (0, 0)
    assert "as they were written" in told.out
    assert json.loads(report.read_text("utf-8"))["damaged"] == []

    victim = next(file for file in (path / "0" / "c").rglob("*") if file.is_file())
    victim.write_bytes(b"")
    told = run("verify", path, "--json", report)
    assert told.code == 1
    assert "1 of" in told.err
    assert "--overwrite" in told.err
    name = victim.relative_to(path).as_posix()
    assert f"{name}: empty" in told.out
    assert json.loads(report.read_text("utf-8"))["damaged"] == [{"file": name, "reason": "empty"}]
    assert run("verify", tmp_path / "missing").code == 2
