"""FIB-25 by download, from a server on this machine that holds the original slices."""

from __future__ import annotations

import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_d2r.errors import InputError
from napari_d2r.jobs import CancelToken, Finished, Outcome, Progress
from napari_d2r.samples import fib25_sample, fib25_stream


class Slices(BaseHTTPRequestHandler):
    """Serves the slices; one of them can be wrong."""

    def __init__(self, folder, asked, wrong, *args):
        self.folder, self.asked, self.wrong = folder, asked, wrong
        super().__init__(*args)

    def do_GET(self):
        self.asked.append(self.path)
        sample, _, name = self.path.strip("/").split("/")
        content = (self.folder / sample / name).read_bytes()
        if name in self.wrong:
            content = content[:-9] + b"not a png"
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def server(data_dir, monkeypatch):
    """URL of the server, what it was asked for, and the names of files that it spoils."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    asked, wrong = [], set()
    handler = partial(Slices, data_dir / "fib25" / "png", asked, wrong)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", asked, wrong
        http.shutdown()
        thread.join()


def test_downloaded_once_and_kept(server, data_dir, tmp_path, monkeypatch):
    url, asked, _ = server
    monkeypatch.setenv("NAPARI_D2R_FIB25_URL", url)
    monkeypatch.setenv("NAPARI_D2R_HOME", str(tmp_path))
    events = list(fib25_stream())
    volume = events[-1].result
    truth = tifffile.imread(data_dir / "fib25" / "fib25_training_sample1.tif")
    np.testing.assert_array_equal(volume.read(), truth[::8])
    assert tuple(volume.voxel_size) == (80, 10, 10)
    assert [event.done for event in events if isinstance(event, Progress)] == [*range(1, 33)]
    assert len(asked) == 32
    np.testing.assert_array_equal(fib25_sample().read(), truth[::8])
    assert len(asked) == 32


def test_a_wrong_file_is_refused_and_not_kept(server, tmp_path):
    url, _, wrong = server
    wrong.add("iso.2616.png")
    with pytest.raises(InputError, match=r"iso\.2616\.png from 127\.0\.0\.1 is not the file"):
        fib25_sample(url=url, cache=tmp_path)
    wrong.clear()
    assert fib25_sample(url=url, cache=tmp_path).shape == (32, 250, 250)


def test_cancelled_in_time(server, tmp_path):
    url, asked, _ = server
    cancel = CancelToken()
    events = []
    for event in fib25_stream(url=url, cache=tmp_path, cancel=cancel):
        events.append(event)
        cancel.cancel()
    assert events[-1] == Finished(Outcome.CANCELLED)
    assert len(asked) == 1


def test_offline_is_said_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(InputError, match=r"could not be downloaded from 127\.0\.0\.1 .*phantom"):
        fib25_sample(url="http://127.0.0.1:9", cache=tmp_path)
    with pytest.raises(InputError, match="https only"):
        fib25_sample(url="http://example.org", cache=tmp_path)
    assert not list(Path(tmp_path).rglob("*.png"))
