"""What a model did on a stack that was made unlike what it knows: a frozen value and its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from napari_d2r.metrics import Interval
from napari_d2r.stages._comparison import aligned_table
from napari_d2r.stages._controls import Controls
from napari_d2r.stages._controls_report import interval_text


@dataclass(frozen=True, slots=True)
class Trial:
    """The stack made unlike what the model knows: PSNR of inserted slices in dB.

    Parameters
    ----------
    name
        What was done to it.
    linear, model, gain
        With 95 % intervals; the gain is that of the model above linear.
    """

    name: str
    linear: Interval
    model: Interval
    gain: Interval


def with_the_stack_as_it_is(controls: Controls, trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """The result of an evaluation as a trial, then the others."""
    linear, result = controls.linear, controls.result
    return (Trial("as it is", linear.psnr, result.psnr, result.gain), *trials)


def trial_table(trials: Sequence[Trial]) -> str:
    """Model and linear, trial by trial."""
    return aligned_table(
        ["inserted slices, PSNR (dB)", "linear", "model", "gain"],
        [
            [
                trial.name,
                interval_text(trial.linear),
                interval_text(trial.model),
                interval_text(trial.gain, sign="+"),
            ]
            for trial in trials
        ],
    )
