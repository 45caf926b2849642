"""What an audit found: a frozen value, its headline, tables and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from napari_d2r.jobs import Provenance
from napari_d2r.stages._comparison import json_text
from napari_d2r.stages._controls import Controls
from napari_d2r.stages._evaluation_report import EvaluationReport
from napari_d2r.stages._trial import Trial, trial_table, with_the_stack_as_it_is
from napari_d2r.volumes import Volume

_NOTHING_DB = 0.05  # below this, a gain or a loss is nobody's concern


@dataclass(frozen=True, slots=True, eq=False)
class AuditReport:
    """A model on a stack whose truth is known.

    Parameters
    ----------
    stack
        Its name.
    drop
        Every ``drop``-th slice was kept.
    whole_shape
        Of the whole stack (z, y, x); the middle was judged.
    evaluation
        With controls.
    trials
        Out of the model's domain.
    provenance
        How the result was made.
    seconds
        How long the audit took.
    result, reference
        The volumes, for pictures.
    """

    stack: str
    drop: int
    whole_shape: tuple[int, int, int]
    evaluation: EvaluationReport
    trials: tuple[Trial, ...]
    provenance: Provenance
    seconds: float
    result: Volume = field(repr=False)
    reference: Volume = field(repr=False)

    @property
    def controls(self) -> Controls:
        """Those of the evaluation."""
        assert self.evaluation.controls is not None
        return self.evaluation.controls

    @property
    def all_trials(self) -> tuple[Trial, ...]:
        """The stack as it is, then the others."""
        return with_the_stack_as_it_is(self.controls, self.trials)

    @property
    def judged(self) -> str:
        """Which voxels were judged, in words."""
        judged, whole = (" x ".join(map(str, s)) for s in (self.reference.shape, self.whole_shape))
        return f"{judged} of {whole} voxels, each {self.reference.voxel_size}"

    def headline(self) -> str:
        """The finding in one sentence."""
        gain, nm = self.controls.result.gain, self.reference.voxel_size.z
        model = self.provenance.model
        start = f"Every {self.drop}th slice kept ({self.drop * nm:g} nm apart), “{model}”"
        if gain.low <= 0 <= gain.high or abs(gain.value) < _NOTHING_DB:
            return f"{start} is no closer to the dropped slices than linear interpolation."
        side = "closer to" if gain.value > 0 else "further from"
        low, high = sorted((abs(gain.low), abs(gain.high)))
        return (
            f"{start} is {abs(gain.value):.2f} dB {side} the dropped slices than linear "
            f"interpolation (95 % interval {low:.2f} to {high:.2f} dB)."
        )

    def findings(self) -> list[str]:
        """What else a reader should know, a sentence each."""
        controls, result = self.controls, self.controls.result
        found = [
            f"It reaches {result.ssim.value / controls.attainable_ssim:.0%} of the SSIM that the "
            f"noise of the stack allows; linear reaches "
            f"{controls.linear.ssim.value / controls.attainable_ssim:.0%}."
        ]
        listed, anew = controls.listed(result), controls.listed_anew(result)
        baseline = controls.listed(controls.linear)
        if listed is not None and anew is not None and baseline is not None:
            found.append(
                f"Scanning FRC lists {listed.sum()} of {listed.size} patches as made up or missed, "
                f"against {baseline.sum()} for linear; {anew.sum()} of them only in the result."
            )
        lost = [trial.name for trial in self.trials if trial.gain.high < 0]
        kept = [trial.name for trial in self.trials if trial.gain.low > 0]
        if kept:
            found.append(f"Still closer than linear with {_listing(kept)}.")
        if lost:
            found.append(f"Further off than linear with {_listing(lost)}.")
        learned_from = self.provenance.trained_on
        if learned_from:
            found.append(
                f"If this stack is among what the model learned from ({learned_from}), it has seen "
                "the answer."
            )
        shift = self.evaluation.result.axial_shift
        if abs(shift) > 0.25:
            found.append(f"The result stands {shift:+.2f} voxels off along Z.")
        if self.provenance.is_sample:
            found.append("The result is a diffusion sample: one of many that fit the slices.")
        return found

    def text(self) -> str:
        """Headline, findings and all tables."""
        words = " ".join([self.headline(), *self.findings()])
        parts = (
            words,
            f"Judged on {self.judged}.",
            trial_table(self.all_trials),
            self.evaluation.table(),
        )
        return "\n\n".join(parts)

    def to_json(self) -> str:
        """The report as JSON; the keys are documented in ``docs/audit.md``."""
        return json_text(
            {
                "format": "napari-d2r audit",
                "version": 1,
                "headline": self.headline(),
                "findings": self.findings(),
                "stack": self.stack,
                "whole_shape": list(self.whole_shape),
                "drop": self.drop,
                "seconds": round(self.seconds, 1),
                "trials": [asdict(trial) for trial in self.all_trials],
                "evaluation": self.evaluation.to_object(),
                "provenance": self.provenance.model_dump(mode="json"),
            }
        )


def _listing(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
