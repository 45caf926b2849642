"""Events as lines: what went in comes out, and a bad line is a sentence."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_d2r.errors import InputError
from napari_d2r.jobs import (
    BlockWritten,
    CheckpointSaved,
    Event,
    Failed,
    Finished,
    Outcome,
    Preview,
    Progress,
    Scalars,
    StageStarted,
    Started,
    VolumeBegun,
    Warned,
    Workers,
    decode,
    encode,
)

TEXT = st.text(max_size=30)
COUNT = st.integers(0, 2**40)
NUMBER = st.floats(allow_nan=False)  # infinities too
NAME = TEXT.filter(lambda name: not name.startswith("$"))
PATH = st.text("abcü \\.", min_size=1, max_size=9).map(Path)
CORNER = st.tuples(COUNT, COUNT, COUNT)
EDGES = st.tuples(NUMBER, NUMBER, NUMBER)
PLAIN = st.recursive(
    st.none() | st.booleans() | COUNT | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAME, inner, max_size=3),
    max_leaves=8,
)
EVENTS: dict[type, st.SearchStrategy[Event]] = {
    Started: st.builds(Started, TEXT, st.none() | PATH),
    StageStarted: st.builds(StageStarted, TEXT, COUNT, COUNT),
    Progress: st.builds(Progress, NUMBER, NUMBER, TEXT, st.none() | NUMBER),
    Workers: st.builds(Workers, COUNT),
    VolumeBegun: st.builds(VolumeBegun, TEXT, PATH, CORNER, EDGES, EDGES, TEXT),
    BlockWritten: st.builds(BlockWritten, CORNER, CORNER),
    Scalars: st.builds(Scalars, COUNT, st.dictionaries(NAME, NUMBER, max_size=4)),
    CheckpointSaved: st.builds(CheckpointSaved, PATH, COUNT),
    Warned: st.builds(Warned, TEXT, TEXT),
    Finished: st.builds(Finished, st.sampled_from(Outcome), PLAIN),
    Failed: st.builds(Failed, TEXT, TEXT),
}


def test_every_type_of_event_is_tried() -> None:
    assert {*EVENTS, Preview} == set(get_args(Event))


@given(st.one_of(*EVENTS.values()))
def test_an_event_survives_its_line(event: Event) -> None:
    line = encode(event)
    assert line.isascii()
    assert "\n" not in line
    back = decode(line + "\r\n")
    assert type(back) is type(event)
    assert back == event
    if isinstance(event, Finished):  # which compares equal whatever its result
        assert back.result == event.result


def test_numbers_that_json_cannot_hold_survive_as_valid_json() -> None:
    line = encode(Scalars(3, {"a": math.inf, "b": -math.inf, "c": math.nan}))
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    values = decode(line).values
    assert (values["a"], values["b"]) == (math.inf, -math.inf)
    assert math.isnan(values["c"])


def test_a_picture_is_small_and_true_to_half_a_grey_level() -> None:
    rng = np.random.default_rng(0)
    images = {"prediction": rng.random((200, 256), np.float32), "thin": np.ones((1, 3), np.float32)}
    back = decode(encode(Preview(7, images)))
    assert back.step == 7
    assert list(back.images) == list(images)
    for name, image in images.items():
        assert back.images[name].dtype == np.float32
        np.testing.assert_allclose(back.images[name], image, atol=0.51 / 255)
    wild = np.full((999, 999), np.nan, np.float32)
    wild[0, :2] = 7, -7
    line = encode(Preview(0, {"wild": wild}))
    assert len(line) < 90_000
    assert decode(line).images["wild"][0, :3].tolist() == [1, 0, 0]


@dataclass
class Result:
    path: Path
    gain: float

    def summary(self) -> dict[str, Any]:
        return {"path": self.path, "gain": self.gain, "shape": (1, np.int64(2)), "k": np.float32(2)}


def test_a_result_is_told_by_its_summary() -> None:
    back = decode(encode(Finished(Outcome.COMPLETED, Result(Path("out"), math.inf))))
    assert back.result == {"path": "out", "gain": math.inf, "shape": [1, 2], "k": 2}
    with pytest.raises(TypeError, match="summary"):
        encode(Finished(Outcome.COMPLETED, object()))


GOOD = encode(Progress(1, 2, "shards"))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "torn"),
        (GOOD[:-9], "torn"),
        ("Downloading: 3 %", "torn"),
        ("[" * 100_000, "torn"),
        ('{"$float": "many"}', "torn"),
        ("3", "no event that is known"),
        ('{"done": 1}', "no event that is known"),
        ('{"event": "Exploded"}', "Exploded"),
        ('{"event": ["Progress"]}', "no event that is known"),
        ('{"event": "Progress", "done": 1}', "type Progress"),
        (GOOD.replace("1", '"soon"'), "type Progress"),
        ('{"event": "BlockWritten", "start": [1, 2], "stop": [1, 2, 3]}', "type BlockWritten"),
        ('{"event": "Finished", "outcome": "burnt"}', "type Finished"),
        ('{"event": "Preview", "step": 1, "images": {"a": 3}}', "type Preview"),
        (
            encode(Preview(1, {"a": np.zeros((2, 3), np.float32)})).replace("[2, 3]", "[2, 4]"),
            "type Preview",
        ),
    ],
    ids=lambda value: value[:30],
)
def test_a_bad_line_is_a_sentence(line: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as refused:
        decode(line)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


@given(st.text(max_size=60) | st.integers(0, len(GOOD)).map(lambda stop: GOOD[:stop]))
def test_nothing_but_a_sentence_is_raised(line: str) -> None:
    try:
        decode(line)
    except InputError as error:
        assert str(error).endswith(".")


def test_fields_of_a_newer_version_are_passed_over() -> None:
    fields = json.loads(GOOD) | {"mood": "good"}
    assert decode(json.dumps(fields)) == replace(decode(GOOD))
