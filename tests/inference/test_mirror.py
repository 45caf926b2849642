"""A network that leans to one side along z must not shift the volume."""

import torch

from napari_d2r.inference import GapRequest, LateralPredictor, SequencePredictor, log2_of
from napari_d2r.models import LateralNet, LateralNetConfig, build_network


def test_turning_the_stack_over_and_swapping_x_and_y_turns_the_result_over():
    torch.manual_seed(0)
    network = LateralNet(LateralNetConfig(widths=(8, 8), blocks=(1, 1)))
    predictor = LateralPredictor(network)
    stack = torch.rand(6, 16, 16)
    depths = torch.tensor([[0.25, 0.4, 0.75]]).expand(3, -1)
    upright = predictor.predict(stack, GapRequest(1, depths, log2_of(4)))

    turned = stack.flip(0).transpose(1, 2)
    mirrored = predictor.predict(turned, GapRequest(1, 1 - depths, log2_of(4)))
    torch.testing.assert_close(mirrored.flip(0).transpose(2, 3), upright)


def test_each_gap_may_want_its_own_depths():
    torch.manual_seed(0)
    predictor = LateralPredictor(LateralNet(LateralNetConfig(widths=(8, 8), blocks=(1, 1))))
    stack = torch.rand(6, 16, 16)
    depths = torch.tensor([[0.2, 0.6], [0.1, 0.9]])
    both = predictor.predict(stack, GapRequest(2, depths, log2_of(4)))
    for gap in (0, 1):
        alone = predictor.predict(stack, GapRequest(2 + gap, depths[gap : gap + 1], log2_of(4)))
        torch.testing.assert_close(both[gap], alone[0])


def test_turning_the_stack_over_turns_the_sequence_result_over():
    torch.manual_seed(0)
    network = build_network("aenet-fast", {"widths": [8, 8], "blocks": [1, 1]})
    torch.nn.init.normal_(network.head.generate.weight, std=0.2)
    predictor = SequencePredictor(network)
    stack = torch.rand(6, 16, 16)
    depths = torch.tensor([[0.25, 0.4, 0.75]]).expand(3, -1)
    upright = predictor.predict(stack, GapRequest(1, depths, log2_of(4)))
    mirrored = predictor.predict(stack.flip(0), GapRequest(1, 1 - depths, log2_of(4)))
    torch.testing.assert_close(mirrored.flip(0), upright)
