"""The command line: arguments in, events to a progress bar, errors to one sentence."""

from napari_d2r.cli._main import main

__all__ = ["main"]
