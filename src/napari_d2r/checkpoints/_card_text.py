"""A model card as text, in the nine sections of the bioimage.io template.

Every number comes from the card; what the card does not state is said to be not stated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from napari_d2r.checkpoints._card import ModelCard

__all__ = ["SECTIONS", "render_card"]

SECTIONS = (
    "Model Details",
    "Uses",
    "Task Details",
    "Bias, Risks, and Limitations",
    "Training Details",
    "Evaluation",
    "Environmental Impact",
    "Technical Specifications",
    "How to Get Started with the Model",
)

_TEMPLATE = """\
# {title}

Fills in the missing slices of a volume microscopy stack; learned from {trained_on}.

## Model Details

### Model Description

- **Developed by:** {developer}
- **Model type:** {architecture}, {kind}
- **Modality:** {instruments}
- **License:** {licence}
- **Finetuned from model:** {started_from}

### Model Sources

- **Software:** napari-d2r {package_version}
- **Paper:** D2R, arXiv 2411.16792 and MICCAI 2025; an independent implementation
- **Attribution:** {attribution}

## Uses

### Direct Use

{intended}

### Downstream Use

`napari-d2r train STACK FOLDER --from MODEL` adapts the model to a stack of your own, without
isotropic ground truth.

### Out-of-Scope Use

{out_of_scope}

## Task Details

- **Task type:** axial super-resolution: slices between measured ones, {measured}
- **Input modality:** a stack (Z, Y, X) of grey values, 8- or 16-bit integers or floats
- **Imaging technique:** {instruments}
- **Species:** {species}
- **Target structures:** {tissues}
- **Voxel size (z, y, x):** {voxel_size} in training
- **Distance of slices:** {gaps} lateral pixels

## Bias, Risks, and Limitations

### Known Biases

What the slices looked like that the model has learned from:

{domain}

### Risks

New slices are predictions and look as sharp as measured ones. In tissue, or from a microscope, that
the model does not know it draws what it knows.

### Limitations

{limitations}

### Recommendations

Compare your stack with this card by `napari-d2r info STACK --model MODEL`, and measure on it what
the model gains over linear interpolation by `napari-d2r evaluate STACK --model MODEL`. Neither
needs a reference. Base no measurement on new slices alone.

## Training Details

### Training Data

{data}

### Training Procedure

- **How:** {procedure}
- **Preprocessing:** percentiles 0.1 and 99.9 of the stack become 0 and 1
- **Steps:** {steps}
- **Training time:** {duration}

## Evaluation

Decibels above linear interpolation aligned with the measured slices. *Held out* is of the data set
learned from, but took no part in it; *foreign* is of another.

{evaluation}

## Environmental Impact

- **Hardware type:** {hardware}
- **Hours used:** {hours}
- **Carbon emitted:** not measured

## Technical Specifications

- **Architecture:** {architecture} with {options}
- **Parameters:** {num_parameters}
- **Input and output:** {contract}
- **Context needed per side:** slices: {halo_slices}, pixels: {halo_lateral}
- **Says how far a result may be off:** {uncertainty}
- **Framework:** PyTorch; weights in safetensors, SHA-256 `{weights_sha256}`

## How to Get Started with the Model

```bash
napari-d2r info stack.tif --model MODEL
napari-d2r super-resolve stack.tif out.ome.zarr --model MODEL
```

MODEL is the folder of this card, the name of an imported model, or `bundled`. In napari: *Plugins >
D2R > Super-resolve*.
"""

_NOT_STATED = "not stated"
_DEVELOPERS = {True: "the napari-d2r developers", False: "its user"}  # trained by a script, or not
_KINDS = {
    "prior": "which restores XZ and YZ slices, one at a time",
    "student": "which predicts the slices between two measured ones from those around them",
}
_CONTRACTS = {
    "prior": "measured rows of an XZ or YZ slice and a distance; the rows between",
    "student": "measured slices around a gap, their distance and depths in it; a slice per depth",
}
_LIMITS = (
    "Structures thinner than the gap that run parallel to the slices leave no trace in the data; "
    "what is drawn there is only plausible.",
    "Tissue is taken to look alike along X, Y and Z; where structures run along one axis, it does "
    "not.",
    "Drift and jitter between slices are not corrected.",
)


def render_card(card: ModelCard, level: int = 1) -> str:
    """The card in Markdown; its title is a heading of ``level``, sections are one below."""
    text = _TEMPLATE.format_map(_words(card))
    text = "".join(c for c in text if c.isprintable() or c == "\n")  # cards come from strangers
    marks = "#" * (level - 1)
    return "\n".join(marks + line if line.startswith("#") else line for line in text.split("\n"))


def _words(card: ModelCard) -> dict[str, str]:
    """What stands in the gaps of the template."""
    gaps = _range(card.gap_range)
    pixels = card.domain.pixel_nm if card.domain else card.voxel_size_nm[1:]
    scope = (
        f"Stacks with slices {gaps} lateral pixels apart and pixels of about {_range(pixels)} nm"
    )
    tissues = _listed(one.tissue for one in card.data)
    learned = card.trained_on if tissues == _NOT_STATED else tissues
    fits = (f"{scope}, of tissue like what it learned from ({learned}).",)
    unfit = ("Diagnosis.", "Any volume that `info STACK --model MODEL` warns about, unmeasured.")
    return {
        "title": f"{card.title}: {card.role}" if card.title else f"{card.role}, {card.trained_on}",
        "trained_on": card.trained_on,
        "developer": card.developer or _DEVELOPERS[card.trained_by is None],
        "architecture": card.architecture,
        "kind": _KINDS[card.role],
        "instruments": _listed(one.instrument for one in card.data),
        "licence": card.licence or _NOT_STATED,
        "started_from": _started_from(card),
        "package_version": card.package_version,
        "attribution": card.attribution or _NOT_STATED,
        "intended": _bullets(card.uses.intended or fits),
        "out_of_scope": _bullets((*card.uses.out_of_scope, *unfit)),
        "species": _listed(one.species for one in card.data),
        "tissues": tissues,
        "voxel_size": _times(card.voxel_size_nm) + " nm",
        "gaps": gaps,
        "measured": (
            "which come back unchanged"
            if card.degradation.value.is_sampling
            else f"which are {card.degradation.value} and are restored too"
        ),
        "domain": _bullets(_domain(card)),
        "limitations": _bullets((*card.uses.limitations, *_LIMITS)),
        "data": _data(card),
        "procedure": _procedure(card),
        "steps": f"{card.steps}",
        "duration": f"{card.seconds / 60:.1f} minutes",
        "evaluation": _evaluation(card),
        "hardware": _hardware(card),
        "hours": f"{card.seconds / 3600:.2f}",
        "options": ", ".join(f"{k} {v}" for k, v in card.options.items()) or "no options",
        "num_parameters": f"{card.num_parameters:,}" if card.num_parameters else _NOT_STATED,
        "contract": _CONTRACTS[card.role],
        "halo_slices": f"{card.halo.slices}",
        "halo_lateral": f"{card.halo.lateral}",
        "uncertainty": "no" if card.uncertainty is None else "yes",
        "weights_sha256": card.weights_sha256 or _NOT_STATED,
    }


def _started_from(card: ModelCard) -> str:
    if card.trained_by is None or card.trained_by.start_from is None:
        return "none"
    return card.trained_by.start_from.name


def _domain(card: ModelCard) -> tuple[str, ...]:
    domain = card.domain
    if domain is None:
        return ("Not measured.",)
    low, high = domain.noise_sigma
    grey = (
        f"{100 * one.at:.0f} % of the voxels below {100 * one.low:.0f} to {100 * one.high:.0f} %"
        for one in domain.grey_values
    )
    power = (f"{one.low:.0f} to {one.high:.0f} dB at {one.at:.2g}" for one in domain.power_db)
    return (
        f"Pixels of {_range(domain.pixel_nm)} nm.",
        f"Noise of {100 * low:.2g} to {100 * high:.2g} % of the grey scale.",
        f"Grey values, of the grey scale: {'; '.join(grey)}.",
        f"Lateral power, by period in pixels: {'; '.join(power)}.",
    )


def _range(ends: Iterable[float]) -> str:
    return " to ".join(f"{end:g}" for end in sorted(set(ends)))


def _procedure(card: ModelCard) -> str:
    if card.trained_by is None:
        return card.procedure or "by a script"
    job = card.trained_by
    stage = job.prior if card.role == "prior" else job.student
    teacher = "" if card.role == "prior" else f", targets of kind {job.targets.kind}"
    how = f"the stages of D2R on the stack alone{teacher}"
    if card.reference:
        how = f"supervised by the isotropic volume {card.reference}"
    if stage is None:
        return how
    fitted = stage.optimizer
    losses = " + ".join(f"{w:g} {name}" for name, w in stage.loss.weights.items())
    return (
        f"{how}; batch {fitted.batch}, learning rate "
        f"{fitted.learning_rate:g}, {fitted.schedule} schedule, loss {losses}, seed {job.seed}"
    )


def _hardware(card: ModelCard) -> str:
    if card.compute is None:
        return _NOT_STATED
    threads, processes = card.compute.num_threads, card.compute.num_processes
    return (
        card.compute.device
        + (f", threads: {threads}" if threads else "")
        + (f", processes: {processes}" if processes > 1 else "")
    )


def _data(card: ModelCard) -> str:
    rows = [
        (
            one.name,
            one.species,
            one.tissue,
            one.instrument,
            _times(one.voxel_size_nm),
            _times(one.shape),
            one.licence,
            one.source,
        )
        for one in card.data
    ]
    head = ("Volume", "Species", "Tissue", "Instrument", "Voxel, nm", "Voxels", "Licence", "Source")
    return _table(head, rows) if rows else card.trained_on


def _evaluation(card: ModelCard) -> str:
    rows: list[tuple[str, ...]] = [
        (
            one.volume,
            one.relation,
            one.measure,
            f"{one.factor:.4g}",
            f"{one.gain_db:+.2f}",
            "" if one.psnr_db is None else f"{one.psnr_db:.2f}",
        )
        for one in card.evaluation
    ]
    rows = rows or [
        (card.trained_on, "", name, "", f"{gain:+.2f}", "") for name, gain in card.scores.items()
    ]
    head = ("Volume", "Relation", "Measure", "Factor", "Gain, dB", "PSNR, dB")
    return _table(head, rows) if rows else "Not measured."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names) - {""})) or _NOT_STATED


def _bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _times(numbers: Sequence[float] | None) -> str:
    return "" if numbers is None else " x ".join(f"{number:g}" for number in numbers)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown; an empty cell is not stated."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell or "–" for cell in line) + " |" for line in lines)
