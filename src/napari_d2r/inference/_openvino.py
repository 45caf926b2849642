"""Convolutions in eight-bit integers, by OpenVINO: the only file that knows it.

It is an extra, imported inside the functions. What enters a convolution is rounded to 256
levels of the range that was observed there, its weights to 127 levels of their own range,
output channel by output channel; sums and everything else stay in float32. Weights have
seven bits, not eight, because processors without VNNI add two products in 16 bits, where
2 x 255 x 63 fits and 2 x 255 x 127 does not.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_d2r.inference._workers import MOST_WORKERS

Ranges = dict[str, tuple[float, float]]
"""Least and largest value that enters each convolution, by the convolution's name."""

_CONVOLUTIONS = ("Convolution", "ConvolutionBackpropData")
_CHANNEL_AXIS = {"Convolution": 0, "ConvolutionBackpropData": 1}  # of outputs, in the weights
_LEAST = 1e-6  # a range of nothing but zeros is given some width
_TELEMETRY = "openvino_telemetry"


def openvino_version() -> str:
    """The version that is installed.

    Raises
    ------
    PackageNotFoundError
        Where the extra is not installed.
    """
    return version("openvino")


def save_graph(encode: nn.Module, num_slices: int, stride: int, path: Path) -> None:
    """Write a network (B, ``num_slices``, H, W) -> (B, C, H', W') as an OpenVINO graph.

    Parameters
    ----------
    stride
        H and W of whatever the graph will be fed are multiples of this.
    path
        Of the ``.xml``; the weights stand beside it in a ``.bin``.
    """
    openvino = _imported()
    _let_numba_read_math()
    batch, height, width = (torch.export.Dim(name, min=2) for name in ("b", "h", "w"))
    dimensions = {0: batch, 2: stride * height, 3: stride * width}
    example = torch.zeros(2, num_slices, 4 * stride, 4 * stride)
    with warnings.catch_warnings():  # of two foreign libraries about each other
        warnings.simplefilter("ignore")
        program = torch.export.export(encode, (example,), dynamic_shapes=(dimensions,))
        graph = openvino.convert_model(program)
    graph.reshape([-1, num_slices, -1, -1])
    openvino.save_model(graph, path, compress_to_fp16=False)


def _let_numba_read_math() -> None:
    """Let what draws shapes in a viewer list the functions of `math`, as numba does but once.

    While it traces, torch.export puts others in their place; numba, if it lists them then, in
    another thread, fails.
    """
    with suppress(ImportError):
        from numba import njit

        njit(lambda: None)()


def observe_ranges(path: Path, batches: Iterable[Tensor], num_threads: int) -> Ranges:
    """What enters each convolution of a graph while it sees ``batches`` (B, S, H, W)."""
    core = _core(num_threads)
    graph = core.read_model(path)
    entering = {node.get_friendly_name(): node.input_value(0) for node in _convolutions(graph)}
    sources = {_name(port): port for port in entering.values()}
    probe = _imported().Model(list(sources.values()), graph.get_parameters())
    compiled = core.compile_model(probe, "CPU")
    limits = dict.fromkeys(sources, (math.inf, -math.inf))
    for batch in batches:
        found = compiled(batch.numpy()).to_tuple()
        for (name, (low, high)), values in zip(limits.items(), found, strict=True):
            limits[name] = min(low, float(values.min())), max(high, float(values.max()))
    return {name: limits[_name(port)] for name, port in entering.items()}


def compile_eight_bits(path: Path, ranges: Ranges, num_threads: int) -> Callable[[Tensor], Tensor]:
    """The graph with its convolutions in eight bits, (B, S, H, W) -> (B, C, H', W').

    May be called from several threads at a time, one for each of ``num_threads``.
    """
    core = _core(num_threads)
    graph = core.read_model(path)
    for node in _convolutions(graph):
        low, high = ranges[node.get_friendly_name()]
        entering, weights = node.input(0), node.input(1)
        entering.replace_source_output(_rounded_input(node.input_value(0), low, high))
        weights.replace_source_output(_rounded_weights(node))
    graph.validate_nodes_and_infer_types()
    compiled = core.compile_model(graph, "CPU")

    def encode(slices: Tensor) -> Tensor:
        request = compiled.create_infer_request()  # of its own for each thread
        return torch.from_numpy(request.infer(slices.contiguous().numpy(), share_inputs=True)[0])

    return encode


def _convolutions(graph: Any) -> list[Any]:
    return [node for node in graph.get_ordered_ops() if node.get_type_name() in _CONVOLUTIONS]


def _name(port: Any) -> str:
    return str(port.get_node().get_friendly_name())


def _rounded_input(port: Any, low: float, high: float) -> Any:
    """256 levels from 0 where nothing is negative, as after a ReLU, else symmetric about 0."""
    most = max(-low, high, _LEAST)
    return _rounded(port, *((0.0, most) if low >= 0 else (-most, most * 127 / 128)), 256)


def _rounded_weights(node: Any) -> Any:
    """Multiples of a 63rd of the largest weight of each output channel."""
    port = node.input_value(1)
    values = np.abs(port.get_node().data)
    others = tuple(a for a in range(values.ndim) if a != _CHANNEL_AXIS[node.get_type_name()])
    step = np.maximum(values.max(others, keepdims=True), _LEAST) / 63
    return _rounded(port, -127 * step, 127 * step, 255)


def _rounded(port: Any, low: Any, high: Any, levels: int) -> Any:
    """Rounded to so many levels; OpenVINO's compiler makes integers of this."""
    ops = _imported().opset13
    ends = [ops.constant(np.asarray(end, np.float32)) for end in (low, high)]
    return ops.fake_quantize(port, *ends, *ends, levels).output(0)


def _core(num_threads: int) -> Any:
    core = _imported().Core()
    settings = {
        "INFERENCE_NUM_THREADS": num_threads,
        "NUM_STREAMS": min(num_threads, MOST_WORKERS),  # gaps at a time, as torch does them
        "INFERENCE_PRECISION_HINT": "f32",  # it would take bf16 where it can
        "ENABLE_CPU_PINNING": False,  # other programs want to run too
    }
    core.set_property("CPU", settings)
    return core


def _imported() -> Any:
    """OpenVINO, imported without its reporter, which would send an event over the network."""
    if "openvino" not in sys.modules:
        with _hidden(_TELEMETRY):
            import openvino
    import openvino

    return openvino


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Make importing a module fail for a while; those who can do without it then do."""
    before = sys.modules.get(module)
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is None:
            del sys.modules[module]
        else:
            sys.modules[module] = before
