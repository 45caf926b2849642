"""The bundled model, and the list of those that were trained here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from napari_d2r.checkpoints import (
    bundled_model,
    is_bundled,
    known_models,
    list_models,
    load_card,
    load_index,
    load_model,
    model_folder,
    remember_model,
)
from napari_d2r.errors import ModelFileError

ROLES = ("prior", "student")
OLD_FIELDS = """architecture options role gap gap_range voxel_size_nm halo prediction sampler scores
trained_on trained_by seconds steps package_version weights_sha256 licence"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty memory."""
    monkeypatch.setenv("NAPARI_D2R_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A model folder of one's own: a copy of the bundled one without its title."""
    folder = tmp_path / "my model"
    shutil.copytree(bundled_model(), folder)
    for path in folder.glob("*/card.json"):
        old = json.loads(path.read_text())
        for name in set(old) - set(OLD_FIELDS.split()):  # as cards were before these
            del old[name]
        path.write_text(json.dumps(old))
    return folder


def test_what_ships_is_small_and_says_what_it_is() -> None:
    files = [path for path in bundled_model().rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".md", ".safetensors"}
    assert sum(path.stat().st_size for path in files) <= 5_000_000
    index = load_index(bundled_model())
    assert index is not None
    assert set(index.models) == set(ROLES)
    for role in ROLES:
        card = load_model(bundled_model(role)).card
        assert (card.role, card.gap_range) == (role, (2, 12))
        assert "FIB-25" in card.title
        assert "CC BY 3.0" in card.attribution
        assert card.licence
        assert min(card.scores.values()) > 0  # better than linear at every gap


def test_a_model_can_be_named_by_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert model_folder(None) == model_folder(Path("bundled")) == bundled_model()
    assert model_folder(Path("bundled/student")) == bundled_model() / "student"
    assert model_folder(tmp_path) == tmp_path
    with pytest.raises(ModelFileError, match="choose prior or student"):
        model_folder(Path("bundled/teacher"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundled").mkdir()  # a folder of that name is what was meant
    assert model_folder(Path("bundled")) == Path("bundled")
    assert is_bundled(bundled_model("prior"))
    assert not is_bundled(tmp_path)


def test_the_list_leaves_out_what_is_damaged_and_says_why(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torn = tmp_path / "torn"
    shutil.copytree(trained, torn)
    (torn / load_index(torn).default / "card.json").write_text("{")
    ours, mine = list_models([torn, trained, tmp_path / "gone"])
    assert (ours.origin, ours.path) == ("bundled", bundled_model())
    assert (mine.origin, mine.name, mine.path) == ("trained", "my model", trained)
    assert mine.card == load_card(trained)[0]
    assert "is damaged or foreign" in caplog.text
    assert "There is no model folder" in caplog.text


def test_models_are_remembered_the_latest_first(home: Path, tmp_path: Path) -> None:
    assert known_models() == ()
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        folder.mkdir()
        remember_model(folder)
    remember_model(folders[0])
    assert known_models() == (folders[0], folders[2], folders[1])
    folders[2].rmdir()
    assert known_models() == (folders[0], folders[1])
    assert [path.name for path in home.iterdir()] == ["models.json"]


def test_a_memory_that_fails_is_no_reason_to_fail(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home.write_text("a file where the folder should be")
    remember_model(tmp_path)
    assert "could not be written" in caplog.text
    home.unlink()
    home.mkdir()
    (home / "models.json").write_text("[]")
    assert known_models() == ()
    assert "cannot be read" in caplog.text
    remember_model(tmp_path)
    assert known_models() == (tmp_path,)
