"""A small membrane network, how it is trained, and how its map becomes neurons.

A U-Net of three levels, 12 to 48 channels, sees five neighbouring slices and says where in the
middle one a neuron ends. It runs over the XY, XZ and YZ slices of a volume; the mean of the three
counts, so that no direction is at an advantage.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.ndimage import distance_transform_edt, gaussian_filter, label, maximum_filter
from skimage.graph import RAG, merge_hierarchical
from skimage.segmentation import watershed
from torch import Tensor, nn
from torch.nn import functional

CONTEXT = 2  # slices seen on either side
_AXES = (0, 1, 2)
_CHUNK = 8
_SEED_RADIUS, _SMOOTH, _MIN_DISTANCE = 9, 1.0, 2.0


class Segmenter(Protocol):
    """What can be plugged in: unit intensities (Z, Y, X) to membrane probabilities (Z, Y, X)."""

    def __call__(self, volume: Tensor) -> Tensor: ...


class MembraneNet(nn.Module):
    """(B, 5, H, W) unit intensities to (B, 1, H, W) logits; H and W are multiples of 4."""

    def __init__(self, widths: tuple[int, int, int] = (12, 24, 48)) -> None:
        super().__init__()
        a, b, c = widths
        self.top, self.middle, self.bottom = _pair(2 * CONTEXT + 1, a), _pair(a, b), _pair(b, c)
        self.up_middle, self.up_top = _pair(c + b, b), _pair(b + a, a)
        self.head = nn.Conv2d(a, 1, 1)
        self.to(memory_format=torch.channels_last)  # half the time on a processor

    def forward(self, x: Tensor) -> Tensor:
        top = self.top(x - 0.5)
        middle = self.middle(functional.avg_pool2d(top, 2))
        bottom = self.bottom(functional.avg_pool2d(middle, 2))
        middle = self.up_middle(torch.cat([_twice(bottom), middle], dim=1))
        return self.head(self.up_top(torch.cat([_twice(middle), top], dim=1)))

    @torch.inference_mode()
    def along(self, volume: Tensor) -> Tensor:
        """Membrane probability by the slices along the first axis, (Z, Y, X)."""
        num, height, width = volume.shape
        pad = (0, -width % 4, 0, -height % 4)
        padded = functional.pad(volume[None], pad, mode="replicate")[0]
        index = torch.arange(num)[:, None] + torch.arange(-CONTEXT, CONTEXT + 1)
        parts = [padded[part] for part in index.clamp(0, num - 1).split(_CHUNK)]
        maps = [torch.sigmoid(self(part))[:, 0, :height, :width] for part in parts]
        return torch.cat(maps)

    def volume(self, volume: Tensor) -> Tensor:
        """The mean over the three directions."""
        turned = (self.along(volume.movedim(axis, 0)).movedim(0, axis) for axis in _AXES)
        return torch.stack(list(turned)).mean(0)


def load_segmenter(path: Path) -> Segmenter:
    """Our own weights, or TorchScript: (1, 1, Z, Y, X) to probabilities of that shape."""
    if path.suffix != ".safetensors":
        script = torch.jit.load(str(path), map_location="cpu").eval()
        return lambda volume: script(volume[None, None])[0, 0]
    network = MembraneNet().eval()
    network.load_state_dict(load_file(path))
    return network.volume


def membranes_of(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Voxels that touch, face to face, a voxel of another neuron."""
    found = labels == 0
    for axis in _AXES:
        low, high = (
            tuple(part if a == axis else slice(None) for a in _AXES)
            for part in (slice(None, -1), slice(1, None))
        )
        differs = labels[low] != labels[high]
        found[low] |= differs
        found[high] |= differs
    return found


def train_membranes(
    volume: NDArray[np.float32], membranes: NDArray[np.bool_], steps: int, seed: int = 0
) -> MembraneNet:
    """Fit to slices of all three directions; gain, offset, noise and blur vary."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = MembraneNet()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(steps):
        drawn = [_crop(volume, membranes, rng) for _ in range(8)]
        slices, truth = (torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True))
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(slices)[:, 0]
        loss = functional.binary_cross_entropy_with_logits(logits.float(), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        if step % 100 == 99:
            print(f"step {step + 1}, loss {loss.item():.3f}", flush=True)
    return network.eval()


def _crop(
    volume: NDArray[np.float32], membranes: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(5, H, W) slices as a microscope might have shown them, and (H, W) membranes."""
    axis = int(rng.integers(3))
    stack, truth = np.moveaxis(volume, axis, 0), np.moveaxis(membranes, axis, 0)
    edge = min(80, stack.shape[1] // 4 * 4, stack.shape[2] // 4 * 4)
    middle = int(rng.integers(CONTEXT, len(stack) - CONTEXT))
    top, left = (int(rng.integers(length - edge + 1)) for length in stack.shape[1:])
    box = slice(top, top + edge), slice(left, left + edge)
    slices = stack[(slice(middle - CONTEXT, middle + CONTEXT + 1), *box)]
    mask = truth[(middle, *box)]
    turns, flip, reverse = int(rng.integers(4)), rng.random() < 0.5, rng.random() < 0.5
    slices = np.rot90(slices[::-1] if reverse else slices, turns, (1, 2))
    mask = np.rot90(mask, turns)
    if flip:
        slices, mask = slices[..., ::-1], mask[..., ::-1]
    if rng.random() < 0.3:
        slices = gaussian_filter(slices, (0, *rng.uniform(0, 1.2, 2)))
    slices = (slices - 0.5) * rng.uniform(0.8, 1.2) + 0.5 + rng.uniform(-0.1, 0.1)
    slices = slices + rng.normal(0, rng.uniform(0, 0.04), slices.shape)
    return slices.astype(np.float32), mask.astype(np.float32)


@dataclass(frozen=True)
class Neurons:
    """A map cut into fragments, ready to be joined at any threshold."""

    fragments: NDArray[np.int32]
    graph: RAG

    def joined(self, threshold: float) -> NDArray[np.int64]:
        """Neighbours are joined while the mean membrane between them stays below."""
        return merge_hierarchical(
            self.fragments,
            self.graph.copy(),
            thresh=threshold,
            rag_copy=False,
            in_place_merge=True,
            merge_func=lambda graph, source, target: None,
            weight_func=_mean_weight,
        )


def fragments_of(membranes: NDArray[np.float32]) -> Neurons:
    """Seeded watershed: a seed where the way to the next membrane is longest."""
    smooth = gaussian_filter(membranes, _SMOOTH)
    distance = gaussian_filter(distance_transform_edt(smooth < 0.5), _SMOOTH)
    peaks = (maximum_filter(distance, _SEED_RADIUS) == distance) & (distance > _MIN_DISTANCE)
    seeds, _ = label(peaks, np.ones((3, 3, 3)))
    fragments = watershed(smooth, seeds).astype(np.int32)
    return Neurons(fragments, _graph(fragments, smooth))


def _graph(fragments: NDArray[np.int32], membranes: NDArray[np.float32]) -> RAG:
    """Touching fragments, the mean membrane between them, and over how many faces."""
    keys, weights = [], []
    base = int(fragments.max()) + 1
    for axis in _AXES:
        ends = [
            tuple(part if a == axis else slice(None) for a in _AXES)
            for part in (slice(None, -1), slice(1, None))
        ]
        one, other = (fragments[end] for end in ends)
        touch = one != other
        pairs = np.sort(np.stack([one[touch], other[touch]]).astype(np.int64), axis=0)
        keys.append(pairs[0] * base + pairs[1])
        weights.append(np.maximum(*(membranes[end][touch] for end in ends)))
    pairs, which, counts = np.unique(np.concatenate(keys), return_inverse=True, return_counts=True)
    means = np.bincount(which, np.concatenate(weights)) / counts
    graph = RAG()
    graph.add_nodes_from((int(n), {"labels": [int(n)]}) for n in np.unique(fragments))
    for pair, mean, count in zip(pairs.tolist(), means.tolist(), counts.tolist(), strict=True):
        graph.add_edge(pair // base, pair % base, weight=mean, count=count)
    return graph


def _mean_weight(graph: RAG, source: int, target: int, neighbour: int) -> dict[str, float]:
    """Of the boundary that two fragments have with a third once they are one."""
    nothing = {"weight": 0.0, "count": 0}
    edges = [graph[node].get(neighbour, nothing) for node in (source, target)]
    count = sum(edge["count"] for edge in edges)
    return {"weight": sum(e["weight"] * e["count"] for e in edges) / count, "count": count}


def _pair(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(after, after, 3, padding=1),
        nn.ReLU(inplace=True),
    )


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="nearest")
