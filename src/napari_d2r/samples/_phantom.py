"""An EM-like phantom: packed cells, membranes, mitochondria, vesicles and shot noise.

All lengths are in nm and all structures are drawn alike along z, y and x, so that what a
network learns in XY holds in XZ and YZ. Nothing here imitates one particular data set; the
proportions are those of neuropil in FIB-SEM at 10 nm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_d2r.errors import InputError
from napari_d2r.samples._fields import Axes, Image, SmoothField, distance_to_level
from napari_d2r.volumes import MIN_SLICES, Volume, VoxelSize, to_dtype

VOXEL_NM = 10.0
DEFAULT_SHAPE = (249, 256, 256)
DEFAULT_FACTOR = 8

# Two tilings of space: wide cells, and thin neurites that fill some of them as bundles.
_WIDE_KNOT_NM, _NUM_WIDE = 220.0, 7
_THIN_KNOT_NM, _NUM_THIN = 125.0, 6
_NUM_BUNDLES = 3
_MEMBRANE_NM = 16.0  # half width of the dark line
_MITO_PER_UM3, _MITO_NM = 8.0, (80.0, 260.0)  # tries, and the range of radii
_MITO_CLEARANCE_NM, _MITO_ROUGHNESS_NM = 40.0, 16.0
_VESICLE_SPACING_NM, _VESICLE_RADIUS_NM = 72.0, 22.0
# Per voxel: sigma of the point spread, and of the noise at grey 150 before it.
_POINT_SPREAD, _NOISE = 0.6, 13.0
_COARSE_NM, _MIN_EXTENT_NM = 40.0, 160.0
_SLAB = 32


def make_phantom(
    shape: tuple[int, int, int] = DEFAULT_SHAPE, seed: int = 0, *, voxel_nm: float = VOXEL_NM
) -> NDArray[np.uint8]:
    """Draw the phantom with isotropic voxels.

    Parameters
    ----------
    shape
        (Z, Y, X) in voxels.
    seed
        Same seed and same extent ``(shape - 1) * voxel_nm``: same structures.
    voxel_nm
        Edge of a voxel. The noise is one draw per voxel, whatever its size.

    Returns
    -------
    ndarray
        (Z, Y, X) uint8, bright cytoplasm near 160 and dark membranes near 85.

    Raises
    ------
    InputError
        If an axis is shorter than 160 nm, less than a structure or two.
    """
    depth, height, width = ((length - 1) * voxel_nm for length in shape)
    if min(depth, height, width) < _MIN_EXTENT_NM:
        raise InputError(
            f"A phantom of {shape} voxels of {voxel_nm:g} nm is too small to hold anything; "
            f"make each axis longer than {_MIN_EXTENT_NM:g} nm."
        )
    rng = np.random.default_rng(seed)
    tissue = _Tissue.draw((depth, height, width), rng)
    mitochondria = _place_mitochondria(tissue, (depth, height, width), rng)
    clean = np.empty(shape, np.float32)
    room = np.empty(shape, np.float32)
    y, x = (np.arange(-1, length + 1) * voxel_nm for length in shape[1:])
    for start in range(0, shape[0], _SLAB):
        stop = min(start + _SLAB, shape[0])
        z = np.arange(start - 1, stop + 1) * voxel_nm
        clean[start:stop], room[start:stop] = tissue.paint((z, y, x), voxel_nm, mitochondria)
    _stamp_vesicles(clean, room, voxel_nm, rng)
    return _expose(clean, rng)


def phantom_sample(
    shape: tuple[int, int, int] = DEFAULT_SHAPE, factor: int = DEFAULT_FACTOR, seed: int = 0
) -> tuple[Volume, Volume]:
    """The phantom as a microscope would give it, and the truth.

    Returns
    -------
    measured, truth
        Every ``factor``-th slice of the truth (by default 80 x 10 x 10 nm), and the truth
        with its isotropic voxels of 10 nm.
    """
    if shape[0] <= (MIN_SLICES - 1) * factor:
        raise InputError(
            f"A phantom of {shape[0]} slices keeps fewer than {MIN_SLICES} at factor {factor}; "
            f"make it at least {(MIN_SLICES - 1) * factor + 1} slices deep."
        )
    truth = make_phantom(shape, seed)
    isotropic = VoxelSize(VOXEL_NM, VOXEL_NM, VOXEL_NM)
    return (
        Volume(
            np.ascontiguousarray(truth[::factor]),
            VoxelSize(VOXEL_NM * factor, VOXEL_NM, VOXEL_NM),
            name=f"phantom (seed {seed}, every {factor}th slice)",
        ),
        Volume(truth, isotropic, name=f"phantom (seed {seed}, truth)"),
    )


@dataclass(frozen=True, slots=True)
class _Mitochondrion:
    """A capsule: all points within ``radius`` of the segment from ``start`` to ``stop``, nm."""

    start: tuple[float, float, float]
    stop: tuple[float, float, float]
    radius: float

    def depth(self, axes: Axes) -> Image:
        """How far inside each position lies, in nm; (Z, Y, X)."""
        offset = [
            (positions - at).astype(np.float32).reshape(_spread(axis))
            for axis, (positions, at) in enumerate(zip(axes, self.start, strict=True))
        ]
        along = np.subtract(self.stop, self.start).astype(np.float32)
        dot = sum(o * a for o, a in zip(offset, along, strict=True))
        t = np.clip(dot / max(float(along @ along), 1.0), 0, 1)
        squared = sum(np.square(o - t * a) for o, a in zip(offset, along, strict=True))
        depth: Image = (self.radius - np.sqrt(squared)).astype(np.float32)
        return depth

    def box(self, axes: Axes) -> tuple[slice, ...]:
        """The part of a grid that it can reach."""
        reach = self.radius + 4 * _MITO_ROUGHNESS_NM
        low = np.minimum(self.start, self.stop) - reach
        high = np.maximum(self.start, self.stop) + reach
        return tuple(
            slice(*np.searchsorted(positions, (first, last)))
            for positions, first, last in zip(axes, low, high, strict=True)
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Tissue:
    """The random fields of one phantom."""

    wide: tuple[SmoothField, ...]
    thin: tuple[SmoothField, ...]
    shading: SmoothField
    texture: SmoothField
    grey: NDArray[np.float32]  # (wide label, thin label)

    @classmethod
    def draw(cls, extent: tuple[float, float, float], rng: np.random.Generator) -> _Tissue:
        def field(knot_nm: float) -> SmoothField:
            return SmoothField.draw(extent, knot_nm, rng)

        grey = rng.uniform(128, 184, (_NUM_WIDE, _NUM_THIN)).astype(np.float32)
        grey[_NUM_BUNDLES:] = grey[_NUM_BUNDLES:, :1]  # a wide cell is of one grey
        return cls(
            wide=tuple(field(_WIDE_KNOT_NM) for _ in range(_NUM_WIDE)),
            thin=tuple(field(_THIN_KNOT_NM) for _ in range(_NUM_THIN)),
            shading=field(120.0),
            texture=field(28.0),
            grey=grey,
        )

    def cells(self, axes: Axes, voxel_nm: float) -> tuple[Image, Image]:
        """Cytoplasmic grey, and the distance in nm to the nearest cell membrane."""
        cell, edge = _tiling(self.wide, axes, voxel_nm)
        neurite, thin_edge = _tiling(self.thin, axes, voxel_nm)
        np.minimum(edge, thin_edge, out=edge, where=cell < _NUM_BUNDLES)
        return self.grey[cell, neurite], edge

    def paint(
        self, axes: Axes, voxel_nm: float, mitochondria: list[_Mitochondrion]
    ) -> tuple[Image, Image]:
        """Grey values, and the distance in nm to any membrane, less one voxel per side."""
        grey, edge = self.cells(axes, voxel_nm)
        shading, texture = self.shading.at(axes), self.texture.at(axes)
        grey = grey + 7 * shading + 5 * texture
        body = np.full_like(edge, -1e3)
        for mitochondrion in mitochondria:
            box = mitochondrion.box(axes)
            part = tuple(positions[cut] for positions, cut in zip(axes, box, strict=True))
            if all(map(len, part)):
                depth = mitochondrion.depth((part[0], part[1], part[2]))
                np.maximum(body[box], depth + _MITO_ROUGHNESS_NM * shading[box], out=body[box])
        np.minimum(body, edge - np.float32(_MITO_CLEARANCE_NM), out=body)
        inside = _step(body / 12)
        grey += inside * (94 + 7 * np.sin(3 * texture) - grey)
        # A mitochondrion has two membranes, 20 nm apart.
        grey -= 14 * _line(body / 8) + 10 * _line((body - 20) / 8) + 64 * _line(edge / _MEMBRANE_NM)
        room = np.minimum(edge, -body)
        return grey[1:-1, 1:-1, 1:-1], room[1:-1, 1:-1, 1:-1]


def _place_mitochondria(
    tissue: _Tissue, extent: tuple[float, float, float], rng: np.random.Generator
) -> list[_Mitochondrion]:
    """Lay capsules where cells are wide enough, without touching one another."""
    z, y, x = (np.arange(0, length + _COARSE_NM, _COARSE_NM) for length in extent)
    _, room = tissue.cells((z, y, x), _COARSE_NM)
    room -= np.float32(_MITO_CLEARANCE_NM)
    placed: list[_Mitochondrion] = []
    for _ in range(round(_MITO_PER_UM3 * float(np.prod(extent)) * 1e-9)):
        wide = np.argwhere(room > _MITO_NM[0])
        if not len(wide):
            break
        middle = wide[rng.integers(len(wide))]
        radius = float(min(room[tuple(middle)], _MITO_NM[1]) * rng.uniform(0.6, 0.95))
        # The other end lies up to three radii away along each axis, where it has room too.
        reach = int(3 * radius / _COARSE_NM)
        low = np.maximum(middle - reach, 0)
        around = room[tuple(slice(c, m + reach + 1) for c, m in zip(low, middle, strict=True))]
        ends = np.argwhere(around > 0.8 * radius) + low
        other = ends[rng.integers(len(ends))]
        capsule = _Mitochondrion(tuple(middle * _COARSE_NM), tuple(other * _COARSE_NM), radius)
        placed.append(capsule)
        taken = capsule.depth((z, y, x)) + np.float32(_MITO_CLEARANCE_NM)
        np.minimum(room, -taken, out=room)
    return placed


def _spread(axis: int) -> tuple[int, ...]:
    """The shape that lays a vector along ``axis`` of three."""
    return tuple(-1 if n == axis else 1 for n in range(3))


def _tiling(
    fields: tuple[SmoothField, ...], axes: Axes, voxel_nm: float
) -> tuple[NDArray[np.uint8], Image]:
    """Which field is highest, and the distance in nm to where another one takes over."""
    first = fields[0].at(axes)
    second = np.full_like(first, -np.inf)
    label = np.zeros(first.shape, np.uint8)
    for n, field in enumerate(fields[1:], start=1):
        values = field.at(axes)
        higher = values > first
        label[higher] = n
        np.maximum(second, np.minimum(first, values), out=second)
        np.maximum(first, values, out=first)
    return label, distance_to_level(first - second, voxel_nm)


def _line(t: Image) -> Image:
    """A smooth line of half width 1 around 0."""
    line: Image = np.exp(-(t * t))
    return line


def _step(t: Image) -> Image:
    """A smooth step from 0 to 1 around 0."""
    step: Image = np.clip(t * 0.5 + 0.5, 0, 1)
    return step


def _stamp_vesicles(
    clean: Image,
    room: Image,
    voxel_nm: float,
    rng: np.random.Generator,
) -> None:
    """Draw clusters of vesicles, dark shells with a pale lumen, where there is room."""
    extent = tuple((length - 1) * voxel_nm for length in clean.shape)
    counts = [int(length // _VESICLE_SPACING_NM) for length in extent]
    lattice = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), -1).reshape(-1, 3)
    centres = (lattice + rng.random(lattice.shape)) * _VESICLE_SPACING_NM
    cluster = gaussian_filter(rng.standard_normal(counts), 1.5, mode="wrap").ravel()
    nearest = np.rint(centres / voxel_nm).astype(int)
    free = room[tuple(nearest.T)] > _VESICLE_RADIUS_NM + 12
    chosen = centres[free & (cluster > 0.8 * cluster.std())]
    reach = int(np.ceil(1.8 * _VESICLE_RADIUS_NM / voxel_nm))
    for centre in chosen:
        middle = np.rint(centre / voxel_nm).astype(int)
        box = tuple(
            slice(max(c - reach, 0), min(c + reach + 1, length))
            for c, length in zip(middle, clean.shape, strict=True)
        )
        z, y, x = (
            np.arange(part.start, part.stop) * voxel_nm - c
            for part, c in zip(box, centre, strict=True)
        )
        radius = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
        clean[box] -= 38 * _line((radius - _VESICLE_RADIUS_NM) / 11).astype(np.float32)


def _expose(clean: Image, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Shot noise and the point spread of a detector, the same along all axes."""
    noise = rng.standard_normal(clean.shape, np.float32)
    noise *= np.sqrt(np.clip(clean, 0, None) * np.float32(_NOISE**2 / 150))
    grey = gaussian_filter(clean + noise, _POINT_SPREAD, truncate=2)
    return to_dtype(grey, np.dtype(np.uint8))
