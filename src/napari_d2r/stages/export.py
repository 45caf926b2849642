"""A volume for other programs: ``napari-d2r export out.ome.zarr out.mrc --to mrc``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from napari_d2r.errors import InputError
from napari_d2r.io import ExportFormat, export_stream, open_source
from napari_d2r.jobs import CancelToken, Event, Finished, Outcome, Progress, Started
from napari_d2r.volumes import Volume

__all__ = ["run_export"]


def run_export(
    volume: Volume,
    path: Path,
    form: ExportFormat,
    *,
    overwrite: bool = False,
    cancel: CancelToken | None = None,
) -> Iterator[Event]:
    """Write a volume in another format; ends in ``Finished`` with the path.

    Where it stands and how it was made go along, as far as the format has words for them. A
    cancelled export leaves nothing behind.

    Raises
    ------
    InputError
        If the name is taken, the disk has no room, or the format cannot hold such voxels.
    DiskFullError
        If it does not fit after all.
    """
    yield Started("export", path)
    source = None
    if volume.source is not None:
        with suppress(InputError):  # one of several images in a file, of which none says more
            source = open_source(volume.source)
    steps = export_stream(
        volume,
        path,
        form,
        origin=(0.0, 0.0, 0.0) if source is None else source.origin,
        provenance={} if source is None else source.provenance,
        overwrite=overwrite,
    )
    with closing(steps):
        for done, total in steps:
            yield Progress(done, total, "parts")
            if cancel:
                yield Finished(Outcome.CANCELLED)
                return
    yield Finished(Outcome.COMPLETED, path)
