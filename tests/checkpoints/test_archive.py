"""Models travel as files; nothing of a file is believed."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_d2r.checkpoints import (
    all_models,
    bundled_model,
    export_model,
    import_model,
    load_card,
    model_folder,
    remember_model,
    remove_model,
    verify_model,
)
from napari_d2r.errors import InputError, ModelFileError

Member = str | zipfile.ZipInfo
pytestmark = pytest.mark.usefixtures("home")


def packed(folder: Path, target: Path, prefix: str = "") -> Path:
    """A zip made by hand, as any program would."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, prefix + path.relative_to(folder).as_posix())
    return target


def with_member(archive: Path, member: Member, content: bytes) -> None:
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr(member, content)


def refused(source: Path, words: str, home: Path) -> None:
    """Refused in one sentence, and nothing is left."""
    with pytest.raises(ModelFileError, match=words) as caught:
        import_model(source)
    assert "\n" not in str(caught.value)
    assert ".import-" not in str(caught.value)
    kept = home / "models"
    assert not kept.exists() or list(kept.iterdir()) == []


def test_a_model_goes_out_and_comes_back(pair: Path, tmp_path: Path, home: Path) -> None:
    digest = export_model(pair, tmp_path / "Fly brain.zip")
    assert digest == hashlib.sha256((tmp_path / "Fly brain.zip").read_bytes()).hexdigest()
    assert digest == export_model(pair, tmp_path / "again.zip")  # same model, same file
    folder = import_model(tmp_path / "Fly brain.zip", sha256=digest.upper())
    assert folder == home / "models" / "Fly brain"
    assert list(folder.parent.iterdir()) == [folder]
    for role in ("prior", "student"):
        weights = [path / role / "weights.safetensors" for path in (pair, folder)]
        assert weights[0].read_bytes() == weights[1].read_bytes()
        assert load_card(pair / role)[0] == load_card(folder / role)[0]
        assert (folder / role / "card.md").is_file()
    assert load_card(folder)[0].role == "student"
    assert model_folder(Path("Fly brain")) == folder
    assert model_folder(Path("Fly brain/prior")) == folder / "prior"
    ours, theirs = all_models()
    assert (ours.origin, ours.word) == ("bundled", "bundled")
    assert (theirs.origin, theirs.word, theirs.path) == ("imported", "Fly brain", folder)
    assert remove_model(Path("Fly brain")) == "Fly brain is deleted."
    assert len(all_models()) == 1
    assert list(folder.parent.iterdir()) == []


def test_a_folder_and_a_zip_made_by_hand_are_taken_too(pair: Path, tmp_path: Path) -> None:
    (pair / "job.yaml").write_text("device: auto")
    (pair / ".DS_Store").write_bytes(b"x")
    assert import_model(pair, name="by folder").name == "by folder"
    wrapped = packed(pair, tmp_path / "wrapped.zip", prefix="some folder/")
    with_member(wrapped, "__MACOSX/card.json", b"{}")
    folder = import_model(wrapped)
    assert {path.name for path in folder.iterdir()} == {"models.json", "prior", "student"}
    one = import_model(pair / "prior", name="one")
    assert {path.name for path in one.iterdir()} == {"card.json", "card.md", "weights.safetensors"}
    with pytest.raises(InputError, match="There is a model one already; remove it first"):
        import_model(pair / "student", name="one")
    with pytest.raises(InputError, match="cannot be called"):
        import_model(pair, name="bundled")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../card.json", "names a file outside itself"),
        ("a/../../card.json", "names a file outside itself"),
        ("/card.json", "names a file outside itself"),
        ("C:card.json", "names a file outside itself"),
        ("a\\card.json", "names a file outside itself"),
        ("evil.pth", "is a pickle, which can run any program"),
        ("run.py", "does not belong to a model"),
        ("PRIOR/card.json", "twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_do_not_belong_are_refused(
    pair: Path, tmp_path: Path, home: Path, name: str, words: str
) -> None:
    archive = packed(pair, tmp_path / "bad.zip")
    member = zipfile.ZipInfo("placeholder")
    member.filename = name  # the constructor would change a backslash
    with_member(archive, member, b"{}")
    refused(archive, words, home)
    assert not (tmp_path / "card.json").exists()


def test_links_are_refused(pair: Path, tmp_path: Path, home: Path) -> None:
    archive = packed(pair, tmp_path / "bad.zip")
    link = zipfile.ZipInfo("extra/card.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with_member(archive, link, b"/etc/passwd")
    refused(archive, "holds a link", home)
    (pair / "prior" / "job.yaml").symlink_to("/etc/passwd")
    refused(pair, "is a link; copy the file itself", home)


def test_bombs_are_refused(pair: Path, tmp_path: Path, home: Path) -> None:
    (pair / "prior" / "weights.safetensors").write_bytes(bytes(30_000_000))
    refused(packed(pair, tmp_path / "ratio.zip"), "packed 100 times or more", home)
    refused(pair, "longer than a model like this can be", home)
    (pair / "prior" / "weights.safetensors").write_bytes(b"")
    (pair / "prior" / "card.json").write_bytes(b"[" * 2_000_000)
    refused(pair, "longer than a model like this can be", home)
    many = tmp_path / "many.zip"
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(100):
            archive.writestr(f"{number}/card.json", "{}")
    refused(many, "far larger than a model can be", home)


def test_a_size_that_lies_does_not_help(pair: Path, tmp_path: Path, home: Path) -> None:
    archive = packed(pair, tmp_path / "liar.zip")
    blob = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as file:
        info = next(i for i in file.infolist() if i.filename == "prior/weights.safetensors")
    true = info.file_size.to_bytes(4, "little")
    where = blob.rindex(true, 0)  # in the directory at the end
    blob[where : where + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(blob)
    refused(archive, "liar.zip", home)


def _flip(path: Path) -> None:
    blob = bytearray(path.read_bytes())
    blob[-5] ^= 1
    path.write_bytes(blob)


def _swap_for_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": 1}))


def _absurd(path: Path) -> None:
    card = path.with_name("card.json")
    changed = {"options": {"widths": [10**9, 8], "blocks": [1, 1]}}
    card.write_text(json.dumps(json.loads(card.read_text()) | changed))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_flip, "has changed since it was saved"),
        (_swap_for_pickle, "cannot be read as safetensors"),
        (_absurd, "widths is 1000000000"),
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.with_name("card.json").unlink(), r"has no card\.json"),
        (lambda path: path.with_name("card.json").write_text("{"), "damaged or foreign"),
    ],
)
def test_a_model_that_is_not_sound_is_refused(
    pair: Path, tmp_path: Path, home: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(pair / "prior" / "weights.safetensors")  # not even the default
    refused(packed(pair, tmp_path / "bad.zip"), words, home)
    with pytest.raises(ModelFileError):
        verify_model(pair)
    with pytest.raises(ModelFileError):
        export_model(pair, tmp_path / "out.zip")
    assert not list(tmp_path.glob("out.zip*"))


def test_what_is_no_archive_is_refused(tmp_path: Path, home: Path) -> None:
    refused(tmp_path / "gone.zip", "no model file at", home)
    (tmp_path / "net.pth").write_bytes(pickle.dumps(1))
    refused(tmp_path / "net.pth", "is a pickle", home)
    (tmp_path / "text.zip").write_text("hello")
    refused(tmp_path / "text.zip", "not a sound zip file", home)
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", r"holds no model: there is no card\.json", home)


def test_a_torn_download_is_refused(pair: Path, tmp_path: Path, home: Path) -> None:
    archive = tmp_path / "model.zip"
    digest = export_model(pair, archive)
    with pytest.raises(ModelFileError, match="SHA-256 differs; get it again"):
        import_model(archive, sha256="0" * 64)
    archive.write_bytes(archive.read_bytes()[:-1000])
    refused(archive, "not a sound zip file", home)
    with pytest.raises(ModelFileError, match="SHA-256 differs"):
        import_model(archive, sha256=digest)


def test_export_does_not_overwrite(pair: Path, tmp_path: Path) -> None:
    (tmp_path / "there.zip").write_text("mine")
    for target, words in (
        ("there.zip", "exists"),
        ("a.tar", "end in .zip"),
        ("no/a.zip", "create"),
    ):
        with pytest.raises(InputError, match=words):
            export_model(pair, tmp_path / target)
    assert (tmp_path / "there.zip").read_text() == "mine"


def test_removing_spares_what_is_not_ours(pair: Path) -> None:
    with pytest.raises(ModelFileError, match="part of the program"):
        remove_model(Path("bundled"))
    with pytest.raises(ModelFileError, match=r"no model .*pair to remove"):
        remove_model(pair)
    remember_model(pair)
    assert len(all_models()) == 2
    assert "its files are kept" in remove_model(pair)
    assert len(all_models()) == 1
    assert verify_model(pair)


def test_what_a_killed_import_left_is_swept_and_never_listed(
    pair: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = home / "models" / ".import-abc" / "half"
    shutil.copytree(pair, left)
    assert [entry.origin for entry in all_models()] == ["bundled"]
    monkeypatch.setattr("napari_d2r.checkpoints._archive._STALE_S", -1)
    folder = import_model(pair)
    assert list((home / "models").iterdir()) == [folder]


def test_the_bundled_model_can_be_carried_to_another_machine(tmp_path: Path) -> None:
    export_model(bundled_model(), tmp_path / "fib25.zip")
    assert verify_model(import_model(tmp_path / "fib25.zip"))
