"""Stacks to try everything on: a seeded phantom with a known truth, and real FIB-25."""

from napari_d2r.samples._fib25 import FIB25_LICENCE, FIB25_URL, fib25_sample, fib25_stream
from napari_d2r.samples._phantom import make_phantom, phantom_sample

__all__ = [
    "FIB25_LICENCE",
    "FIB25_URL",
    "fib25_sample",
    "fib25_stream",
    "make_phantom",
    "phantom_sample",
]
