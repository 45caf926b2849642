"""What a benchmark found: rows, and the table in three formats."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from napari_d2r.jobs import FrozenModel, Metric, Suite
from napari_d2r.stages._comparison import aligned_table, json_text
from napari_d2r.stages._meter import Cost

PLANES = ("XY", "XZ", "YZ")


@dataclass(frozen=True, slots=True)
class Column:
    """A number of a row: where it stands in its scores, and how many digits are shown."""

    title: str
    path: tuple[str, ...]
    form: str


def _by_plane(title: str, key: str, form: str) -> tuple[Column, ...]:
    return tuple(Column(f"{title} {plane}", ("planes", plane, key), form) for plane in PLANES)


# Paths are keys of `evaluate --json`; ``gain_db`` is added here.
COLUMNS: Mapping[Metric, tuple[Column, ...]] = {
    "psnr": _by_plane("PSNR", "psnr_db", ".2f"),
    "gain": (Column("gain XZ", ("gain_db", "XZ"), "+.2f"),),
    "ssim": _by_plane("SSIM", "ssim", ".3f"),
    "ssim-gaussian": _by_plane("SSIM, Gaussian,", "ssim_gaussian", ".3f"),
    "ms-ssim": _by_plane("MS-SSIM", "ms_ssim", ".3f"),
    "fsc": (Column("FSC 0.5, nm", ("fsc", "plain", "resolution_nm", "0.5"), ".1f"),),
    "fsc-z": (Column("along Z, nm", ("fsc", "cone_z", "resolution_nm", "0.5"), ".1f"),),
    "detail": (Column("detail", ("controls", "detail"), ".2f"),),
    "sfrc": (Column("sFRC, new", ("controls", "sfrc", "num_listed_anew"), ".0f"),),
    "slice-fid": tuple(
        Column(f"SliceFID {name}", ("perceptual", "slice_fid", name), ".3g")
        for name in (*PLANES, "mean")
    ),
    "lpips": tuple(
        Column(f"LPIPS {plane}", ("perceptual", "lpips", plane), ".3f") for plane in PLANES
    ),
    "shift": (Column("z shift", ("axial_shift_voxels",), "+.3f"),),
}


def needs_controls(suite: Suite) -> bool:
    """Whether a number is asked for that only the controls of an evaluation give."""
    return any(c.path[0] == "controls" for metric in suite.metrics for c in COLUMNS[metric])


class BenchmarkRow(FrozenModel):
    """One method on one case; ``scores`` is its volume in the JSON of `evaluate`."""

    case: str
    method: str
    outcome: Literal["done", "failed", "skipped"]
    message: str = Field("", description="Why it failed, or was skipped.")
    is_sample: bool = False
    over_budget: bool = False
    training: Cost = Cost()
    applying: Cost = Cost()
    scores: dict[str, Any] = Field(default_factory=dict)
    folder: Path
    identity: str = ""

    def number(self, column: Column) -> float | None:
        """What stands in a column, if anything."""
        found: Any = self.scores
        for key in column.path:
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, int | float) else None

    @property
    def notes(self) -> str:
        """What the reader must know beside the numbers."""
        said = [self.message] if self.message else []
        said += ["a sample"] if self.is_sample else []
        said += ["over budget"] if self.over_budget else []
        return ", ".join(said)


@dataclass(frozen=True, slots=True)
class BenchmarkReport:
    """All rows, those of a case together."""

    suite: Suite
    volume: str
    shape: tuple[int, int, int]
    device: str
    folder: Path
    rows: tuple[BenchmarkRow, ...]

    @property
    def cases(self) -> tuple[str, ...]:
        """In the order of the suite."""
        return tuple(dict.fromkeys(row.case for row in self.rows))

    def of_case(self, case: str) -> tuple[BenchmarkRow, ...]:
        """The rows of one case."""
        return tuple(row for row in self.rows if row.case == case)

    def table(self) -> str:
        """One Markdown table per case, and what its columns mean."""
        columns = self._columns()
        header = ["", *(c.title for c in columns), "train, min", "apply, min", "MB", "notes"]
        parts = [f"{self.suite.title or 'Benchmark'}: {self.volume}, {self._shape} voxels"]
        for case in self.cases:
            rows = [self._cells(row, columns) for row in self.of_case(case)]
            parts.append(f"**{case}**\n\n{aligned_table(header, rows)}")
        clock = "processor time" if self.device == "cpu" else "time by the clock"
        budget = self.suite.minutes
        each = "no budget" if budget is None else f"a budget of {budget:g} minutes each"
        seen_by = {row.scores["perceptual"]["seen_by"] for row in self.rows if self._is_seen(row)}
        parts += [f"SliceFID and LPIPS by {' and '.join(sorted(seen_by))}."] if seen_by else []
        parts.append(
            f"PSNR in dB, gain in dB over aligned linear interpolation. Minutes are {clock} on "
            f"{self.device}, {each}, training and super-resolution together; MB: the most memory."
        )
        return "\n\n".join(parts)

    def to_csv(self) -> str:
        """Every row of every case, in full precision."""
        columns = self._columns()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        titles = [column.title for column in columns]
        costs = ["train_s", "apply_s", "train_wall_s", "apply_wall_s", "memory_mb", "notes"]
        writer.writerow(["case", "method", "outcome", *titles, *costs])
        for row in self.rows:
            train, apply = row.training, row.applying
            writer.writerow(
                [row.case, row.method, row.outcome]
                + [row.number(column) for column in columns]
                + [self._seconds(train), self._seconds(apply), train.wall_s, apply.wall_s]
                + [max(train.memory_mb, apply.memory_mb), row.notes]
            )
        return text.getvalue()

    def to_json(self) -> str:
        """The rows as JSON; the keys are documented in ``docs/benchmark-suite.md``."""
        return json_text(
            {
                "format": "napari-d2r benchmark",
                "version": 1,
                "suite": self.suite.model_dump(mode="json"),
                "volume": self.volume,
                "shape": list(self.shape),
                "device": self.device,
                "rows": [row.model_dump(mode="json", exclude={"identity"}) for row in self.rows],
            }
        )

    def summary(self) -> dict[str, Any]:
        """Plain values: ``folder``, and how many rows are done, failed and skipped."""
        outcomes = [row.outcome for row in self.rows]
        counts = {name: outcomes.count(name) for name in ("done", "failed", "skipped")}
        return {"folder": str(self.folder), **counts}

    def save(self) -> None:
        """``table.md``, ``table.csv`` and ``table.json``, in the folder of the benchmark."""
        texts = {"md": self.table() + "\n", "csv": self.to_csv(), "json": self.to_json()}
        for ending, text in texts.items():
            (self.folder / f"table.{ending}").write_text(text, "utf-8")

    @property
    def _shape(self) -> str:
        return " x ".join(map(str, self.shape))

    @staticmethod
    def _is_seen(row: BenchmarkRow) -> bool:
        return bool(row.scores.get("perceptual"))

    def _columns(self) -> list[Column]:
        return [column for metric in self.suite.metrics for column in COLUMNS[metric]]

    def _seconds(self, cost: Cost) -> float:
        return cost.seconds(torch.device(self.device))

    def _cells(self, row: BenchmarkRow, columns: list[Column]) -> list[str]:
        numbers = [row.number(column) for column in columns]
        shown = [
            "" if number is None else f"{number:{column.form}}"
            for number, column in zip(numbers, columns, strict=True)
        ]
        minutes = [self._seconds(cost) / 60 for cost in (row.training, row.applying)]
        memory = max(row.training.memory_mb, row.applying.memory_mb)
        costs = [f"{m:.1f}" if m else "" for m in minutes] + [f"{memory:.0f}" if memory else ""]
        return [row.method, *shown, *costs, row.notes]
