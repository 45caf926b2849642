"""Networks of whole blocks: all gaps of a slab at once, at one factor."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_d2r.checkpoints import HaloCard
from napari_d2r.inference._diffusion import at_depths
from napari_d2r.inference._predictors import GapRequest, Halo, stop_if_asked
from napari_d2r.jobs import CancelToken
from napari_d2r.models import SRUNet, interleave_rows

_PIXELS_AT_ONCE = 2**18  # measured pixels that the decoder refines at once, which bounds memory


class BlockPredictor:
    """SRUNet's contract: a block of slices in, ``factor - 1`` slices in each gap out.

    The network is made for gaps as wide as its factor and is not told of others. Depths between
    those that it predicts are interpolated linearly. Each slab is restored as it stands and
    upside down, and averaged: a lean to one side along z cancels.
    """

    def __init__(self, network: SRUNet, halo: HaloCard | None = None) -> None:
        self.network = network.eval()
        slices = halo.slices if halo else network.axial_halo
        lateral = halo.lateral if halo else network.lateral_halo
        self.halo = Halo(slices, lateral, network.lateral_stride)

    @torch.inference_mode()
    def predict(
        self, slab: Tensor, request: GapRequest, cancel: CancelToken | None = None
    ) -> Tensor:
        """Both ways up; a cancel is honoured between parts of the slab."""
        first, count = request.first, len(request.depths)
        upright = self._restore(slab, first, count, cancel)
        mirrored = self._restore(slab.flip(0), len(slab) - 1 - first - count, count, cancel)
        between = (upright + mirrored.flip(0, 1)) / 2
        bounds = slab[first : first + count + 1].flatten(1)
        restored = interleave_rows(bounds[None], between.flatten(2)[None])
        these = GapRequest(0, request.depths, request.log2_gap)
        filled = at_depths(restored, these, self.network.config.factor)[0]
        shaped: Tensor = filled.unflatten(2, slab.shape[1:])
        return shaped

    def _restore(self, slab: Tensor, first: int, count: int, cancel: CancelToken | None) -> Tensor:
        """(J, H, W) -> (count, factor - 1, H, W): encoded at once, refined in parts."""
        stop_if_asked(cancel)
        slices = slab[None]
        features = self.network.encode(slices)
        reach, stop = self.network.decoder_halo, first + count
        at_once = max(1, _PIXELS_AT_ONCE // slab[0].numel() - 2 * reach)
        filled = []
        for begin in range(first, stop, at_once):
            stop_if_asked(cancel)
            end = min(begin + at_once, stop)
            part = slice(max(0, begin - reach), end + 1 + reach)
            refined = self.network.decode(slices[:, part], [f[:, :, part] for f in features])
            filled.append(refined[0, begin - part.start : end - part.start])
        return torch.cat(filled)
