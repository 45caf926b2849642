"""How a super-resolved volume was made: kept in its file and in the layer that shows it."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError

from napari_d2r.jobs._settings import FrozenModel

Edges = tuple[float, float, float]


class Provenance(FrozenModel):
    """Plain values, (z, y, x) in voxels or nm. What a later version adds is passed over."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    kind: Literal["super-resolved"] = "super-resolved"
    version: str = Field(description="Of this package.")
    source: str = Field(description="Name of the stack: of its layer, or of its file.")
    source_path: str = Field("", description="Empty where the stack was no file.")
    source_shape: tuple[int, int, int] = Field(description="What was used of it.")
    source_voxel_size_nm: Edges
    region: tuple[tuple[int, int], tuple[int, int], tuple[int, int]] | None = Field(
        None, description="Start and stop per axis, where only a region was computed."
    )
    shape: tuple[int, int, int]
    num_channels: int | None = Field(None, description="Restored together; None: it is grey.")
    is_rgb: bool = Field(False, description="Whether they are red, green and blue.")
    voxel_size_nm: Edges
    factor: float = Field(gt=1)
    measured_slices_at_multiples_of: float | None
    measured_slices_at: tuple[float, ...] | None = Field(
        None, description="In slices of the result, where measured ones stand unevenly."
    )
    measured_slices: Literal["copied", "restored"] = "copied"
    method: str = Field(description="model, or an interpolation.")
    model: str = Field("", description="What a list calls it.")
    model_path: str = ""
    model_summary: str = ""
    architecture: str = ""
    weights_sha256: str = ""
    trained_on: str = ""
    attribution: str = ""
    is_sample: bool = Field(False, description="One of many that a diffusion model may draw.")
    sampler: dict[str, Any] | None = Field(None, description="How a sample was drawn.")
    refined_with: str = Field(
        "", description="SHA-256 of the diffusion model that refined the model's prediction."
    )
    device: str
    engine: str = Field("torch", description="What ran the model on it.")
    seed: int
    settings: dict[str, Any] = Field(description="The job as it was asked for.")
    linear_gaps: tuple[int, ...] = Field(
        (), description="Gaps that looked damaged; k lies between measured slices k and k + 1."
    )
    is_complete: bool = True

    @classmethod
    def found_in(cls, facts: object) -> Self | None:
        """Read what a file or a layer says; None where that is not what this package writes."""
        try:
            return cls.model_validate(facts)
        except ValidationError:
            return None

    @property
    def method_name(self) -> str:
        """For the name of a layer: a sample must not pass for a prediction."""
        if self.method != "model":
            return self.method
        return "D2R sample" if self.is_sample else "D2R"
