"""Where the time of `super-resolve` goes: every 8th slice of a volume, the default model.

python benchmarks/profile_run.py [VOLUME] [ENGINE]

Processor time of the whole process, so that other jobs on the machine do not count, in one
thread, with nothing overlapped.
"""

import cProfile
import pstats
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from _common import print_table, truth_and_stack

from napari_d2r.jobs import SuperResolveJob
from napari_d2r.stages import super_resolve as stage

# Words, and the functions that do it, as (end of the file, name).
OWN = {  # without what they call
    "network: convolutions": [("~", "<built-in method torch.conv2d>")],
    "network: transposed convolutions": [("~", "<built-in method torch.conv_transpose2d>")],
    "network: activations": [
        ("~", f"<built-in method {name}>") for name in ("torch.relu", "torch.relu_")
    ],
    "network: depth head, pixel shuffles": [
        ("~", f"<built-in method {name}>")
        for name in ("torch.einsum", "torch.pixel_shuffle", "torch.pixel_unshuffle")
    ],
}
WHOLE = {  # with all that they call
    "load the model": [("_store.py", "load_model")],
    "measure the rate": [("_super_resolve_plan.py", "_rate")],
    "sample the grey values": [("_intensity.py", "of")],
    "look for damaged slices": [("_guard.py", "look_through")],
    "hash of the input": [("_identity.py", "identity_of")],
    "linear interpolation": [("_depth.py", "linear_base")],
    "grey values to unit and back, rounding": [
        ("_intensity.py", "to_unit"),
        ("_intensity.py", "from_unit"),
    ],
    "write shards": [("_output.py", "put"), ("_output.py", "note")],
    "read for the pyramid": [("_output.py", "coarsened")],
}
REST = "everything else: sums, copies, Python"


def one_by_one(items, make, stop) -> Iterator:
    """In place of `made_ahead`: a profile sees one thread only."""
    for item in items:
        yield item, make(item)


def main(name: str = "fib25/fib25_training_sample1", engine: str = "torch") -> None:
    torch.set_num_threads(1)
    _, stack = truth_and_stack(name, 8)
    job = SuperResolveJob(device="cpu", engine=engine)
    stage.made_ahead = one_by_one
    profile = cProfile.Profile(time.process_time)
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        profile.enable()
        plan = stage.resolve_super_resolve(job, stack, Path(folder) / "out.ome.zarr")
        for _ in stage.run_super_resolve(plan):
            pass
        profile.disable()
        total = time.process_time() - began
    found = pstats.Stats(profile).stats
    seconds = {}
    for rows, column in ((WHOLE, 3), (OWN, 2)):
        for words, functions in rows.items():
            seconds[words] = sum(
                entry[column]
                for (file, _, function), entry in found.items()
                if any(file.endswith(end) and function == wanted for end, wanted in functions)
            )
    # What is predicted while the rate is measured is no part of the run.
    seconds[REST] = total - sum(seconds.values())
    print(*plan.lines(), f"{total:.1f} s", sep="\n")
    rows = sorted(seconds.items(), key=lambda row: -row[1])
    print_table(["what", "s", "share"], [[w, f"{s:.2f}", f"{s / total:.1%}"] for w, s in rows])


main(*sys.argv[1:])
