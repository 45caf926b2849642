"""A part of a volume, still where it was: nothing is read until it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from napari_d2r.errors import InputError
from napari_d2r.volumes._volume import ArrayLike, Volume


def crop(volume: Volume, box: tuple[slice, slice, slice]) -> Volume:
    """The voxels in ``box`` (z, y, x) of a volume, as a volume; channels are kept.

    Parameters
    ----------
    box
        Slices of step 1, with the usual meaning of None and negative ends.

    Raises
    ------
    InputError
        Where the box is empty or reaches out of the volume.
    """
    ranges = []
    for name, part, length in zip("zyx", box, volume.shape, strict=True):
        chosen = range(length)[part]
        if chosen.step != 1 or not chosen or (part.stop or 0) > length:
            raise InputError(
                f"The region {part.start} to {part.stop} along {name} does not fit the {length} "
                f"voxels of {volume.name}; choose one inside it."
            )
        ranges.append(chosen)
    channels = [range(volume.num_channels)] if volume.num_channels is not None else []
    return replace(volume, data=_Window(volume.data, (*channels, *ranges)))


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """An array seen through ranges of its axes."""

    data: ArrayLike
    ranges: tuple[range, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(r) for r in self.ranges)

    @property
    def dtype(self) -> Any:
        return self.data.dtype

    def __getitem__(self, key: Any, /) -> Any:
        """Integers, slices and an ellipsis, as of a numpy array."""
        keys = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            keys[at : at + 1] = [slice(None)] * (len(self.ranges) - len(keys) + 1)
        keys += [slice(None)] * (len(self.ranges) - len(keys))
        return self.data[tuple(_inside(r, k) for r, k in zip(self.ranges, keys, strict=True))]


def _inside(whole: range, key: int | slice) -> int | slice:
    if not isinstance(key, slice):
        return whole[key]
    part = whole[key]
    stop = part.stop if part.stop >= 0 else None  # backwards to the very first
    return slice(part.start, stop, part.step)
