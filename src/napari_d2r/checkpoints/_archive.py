"""Models as files: one zip or folder that is exported, carried about and imported.

An archive comes from a stranger. Only files of known names are read from it, each no longer
than its card allows; paths are never taken from the archive, and a model becomes visible in
one step, once all of it has been checked.
"""

from __future__ import annotations

import hashlib
import math
import re
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from napari_d2r.checkpoints._card import ModelCard
from napari_d2r.checkpoints._library import imported_folder
from napari_d2r.checkpoints._store import (
    CARD,
    CARD_TEXT,
    INDEX,
    MAX_CARD_BYTES,
    WEIGHTS,
    load_card,
    load_index,
    load_model,
    save_card,
    weight_shapes,
)
from napari_d2r.errors import InputError, ModelFileError

__all__ = [
    "arriving",
    "export_model",
    "import_model",
    "require_hash",
    "require_new_zip",
    "shown",
    "verify_model",
    "write_zip",
]

_READ = (CARD, INDEX, WEIGHTS)
_KNOWN = {*_READ, CARD_TEXT, "job.yaml"}  # the last two are left where they are
_PICKLES = {".pth", ".pt", ".ckpt", ".pkl", ".pickle", ".bin", ".joblib"}
_MAX_MEMBERS, _MAX_BYTES = 64, 4 * 10**9
_MAX_RATIO = 100  # of an honest file; weights hardly shrink at all
_MAX_WEIGHT_BYTES, _HEADER_BYTES = 8, 10**6
_CHUNK = 2**20
_STALE_S = 3600  # what a killed import left behind
_EPOCH = (1980, 1, 1, 0, 0, 0)  # so that the same model gives the same file


@dataclass(frozen=True, slots=True)
class _Member:
    """A file of an archive: how long it says it is, and how to read it."""

    num_bytes: int
    open: Callable[[], IO[bytes]]


def export_model(folder: Path, target: Path) -> str:
    """Write a model folder to one zip file.

    Parameters
    ----------
    folder
        A sound model folder.
    target
        A new file ``*.zip``.

    Returns
    -------
    str
        SHA-256 of the file, for those who import it.

    Raises
    ------
    ModelFileError
        For a model that is not sound.
    InputError
        Where ``target`` cannot be written.
    """
    require_new_zip(target)
    verify_model(folder)
    files = {path.relative_to(folder).as_posix(): _opener(path) for path in _files(folder)}
    return write_zip(target, files)


def require_new_zip(target: Path) -> None:
    """Raise `InputError` unless a file ``*.zip`` can be made there."""
    if target.suffix.lower() != ".zip":
        raise InputError(f"{target.name} must end in .zip, which is how models are exported.")
    if target.exists():
        raise InputError(f"{target} exists; choose another name, or delete it first.")
    if not target.resolve().parent.is_dir():
        raise InputError(f"There is no folder {target.resolve().parent}; create it first.")


def write_zip(target: Path, members: Mapping[str, Callable[[], IO[bytes]]]) -> str:
    """Write files by name; the same ones give the same bytes, whose SHA-256 is returned."""
    scratch = target.with_name(target.name + ".tmp")
    try:
        with zipfile.ZipFile(scratch, "w") as archive:  # weights do not compress
            for name, opened in members.items():
                info = zipfile.ZipInfo(name, _EPOCH)
                with opened() as source, archive.open(info, "w", force_zip64=True) as out:
                    shutil.copyfileobj(source, out, _CHUNK)
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
    return _sha256(target)


def import_model(source: Path, *, name: str | None = None, sha256: str | None = None) -> Path:
    """Check a model file, or a folder, and put a copy among the models of this machine.

    Parameters
    ----------
    source
        What `export_model` wrote, or a model folder.
    name
        What it is to be called; None takes the name of the source.
    sha256
        What the file must hash to, where that is known.

    Returns
    -------
    Path
        The folder of the imported model.

    Raises
    ------
    ModelFileError
        For anything that is not a sound model; nothing is left behind.
    InputError
        For a name that is taken or cannot be one.
    """
    if sha256 is not None:
        require_hash(source, sha256)
    with arriving(source, name) as (folder, target), _members(source) as members:
        _copy(members, folder, source)
    return target


@contextmanager
def arriving(source: Path, name: str | None) -> Iterator[tuple[Path, Path]]:
    """A new folder, and where it goes once what was put into it is found to be a sound model.

    Raises
    ------
    ModelFileError
        Where it is not; nothing is left behind.
    InputError
        For a name that is taken or cannot be one.
    """
    home = imported_folder()
    target = home / _clean_name(name or re.sub(r"\.(zip|pth|pt)$", "", source.name))
    if target.exists():
        raise InputError(
            f"There is a model {target.name} already; remove it first, or import this one under "
            "another name."
        )
    home.mkdir(parents=True, exist_ok=True)
    _sweep(home)
    with tempfile.TemporaryDirectory(prefix=".import-", dir=home) as scratch:
        folder = Path(scratch) / target.name
        try:
            yield folder, target
            verify_model(folder)
        except ModelFileError as error:  # which may name the scratch folder
            raise ModelFileError(str(error).replace(str(folder), source.name)) from error
        folder.replace(target)


def verify_model(folder: Path) -> tuple[ModelCard, ...]:
    """Check every model in a folder: card, header and hash of the weights, finite values.

    Raises
    ------
    ModelFileError
        For the first that is missing, damaged, changed or foreign.
    """
    index = load_index(folder)
    names = dict.fromkeys([index.default, *index.models]) if index else ["."]
    return tuple(load_model(folder / name).card for name in names)


def _copy(members: Mapping[PurePosixPath, _Member], folder: Path, source: Path) -> None:
    """Cards first, since they say how long weights may be."""
    roots = sorted(path.parent for path in members if path.name in (CARD, INDEX))
    root = min(roots, key=lambda path: len(path.parts), default=None)
    if root is None:
        raise ModelFileError(f"{source.name} holds no model: there is no {CARD} in it.")
    inside = {path: one for path, one in members.items() if path.is_relative_to(root)}
    for path, member in sorted(inside.items(), key=lambda item: item[0].name == WEIGHTS):
        place = path.relative_to(root)
        if path.name not in _READ or len(place.parts) > 2:
            continue
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.name != WEIGHTS:
            _copy_file(member, target, MAX_CARD_BYTES, source)
            continue
        card, _ = load_card(target.parent)
        try:
            counts = [math.prod(shape) for shape in weight_shapes(card).values()]
        except InputError as error:
            raise ModelFileError(f"{source.name}: {error}") from error
        _copy_file(member, target, _MAX_WEIGHT_BYTES * sum(counts) + _HEADER_BYTES, source)
        save_card(target.parent, card)


def _copy_file(member: _Member, target: Path, most: int, source: Path) -> None:
    """No more than ``most`` bytes, whatever the archive says of itself."""
    too_long = f"{target.name} in {source.name} is longer than a model like this can be."
    if member.num_bytes > most:
        raise ModelFileError(too_long)
    with member.open() as reader, target.open("wb") as writer:
        while block := reader.read(_CHUNK):
            most -= len(block)
            if most < 0:
                raise ModelFileError(too_long)
            writer.write(block)


@contextmanager
def _members(source: Path) -> Iterator[dict[PurePosixPath, _Member]]:
    """The files of a zip or a folder, once their names and sizes have been judged."""
    if source.is_dir():
        yield _judged(source, _members_of_folder(source))
        return
    if source.suffix.lower() in _PICKLES:
        raise ModelFileError(_pickle(source.name))
    if not source.is_file():
        raise ModelFileError(f"There is no model file at {source}.")
    try:
        with zipfile.ZipFile(source) as archive:
            yield _judged(source, _members_of_zip(archive, source))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeError) as error:
        raise ModelFileError(f"{source.name} is not a sound zip file ({error}).") from error


def _members_of_folder(source: Path) -> Iterator[tuple[str, _Member]]:
    for path in source.rglob("*"):  # one after another: it may be somebody's home
        if path.is_symlink():
            raise ModelFileError(f"{path} is a link; copy the file itself into the model folder.")
        if path.is_file():
            yield path.relative_to(source).as_posix(), _Member(path.stat().st_size, _opener(path))


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _members_of_zip(archive: zipfile.ZipFile, source: Path) -> Iterator[tuple[str, _Member]]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ModelFileError(f"{source.name} holds a link ({shown(info.filename)}).")
        if info.header_offset < 0:
            raise ModelFileError(f"{source.name} is not a sound zip file (its directory lies).")
        if info.flag_bits & 1:
            raise ModelFileError(f"{source.name} is encrypted; unpack it and import the folder.")
        if info.file_size > _MAX_RATIO * max(info.compress_size, 1):
            raise ModelFileError(
                f"{source.name} is packed {_MAX_RATIO} times or more, as no honest model is."
            )
        if not info.filename.endswith("/"):  # not is_dir, which fails where there is no name
            yield info.filename, _Member(info.file_size, _zip_opener(archive, info))


def _zip_opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: archive.open(info)


def _judged(source: Path, members: Iterator[tuple[str, _Member]]) -> dict[PurePosixPath, _Member]:
    """Refuse names that lead elsewhere, files that are not ours, and floods of either."""
    found: dict[PurePosixPath, _Member] = {}
    lower: set[str] = set()
    for name, member in members:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or re.search(r"[\\:\x00]", name):
            raise ModelFileError(f"{source.name} names a file outside itself: {shown(name)}.")
        if any(part.startswith((".", "__MACOSX")) for part in path.parts):
            continue  # what file managers add
        if path.suffix.lower() in _PICKLES:
            raise ModelFileError(_pickle(f"{source.name} ({shown(name)})"))
        if path.name not in _KNOWN:
            raise ModelFileError(
                f"{source.name} holds {shown(name)}, which does not belong to a model."
            )
        if str(path).lower() in lower:
            raise ModelFileError(f"{source.name} holds {shown(name)} twice.")
        found[path] = member
        lower.add(str(path).lower())
        if len(found) > _MAX_MEMBERS or sum(one.num_bytes for one in found.values()) > _MAX_BYTES:
            raise ModelFileError(f"{source.name} is far larger than a model can be.")
    return found


def _pickle(what: str) -> str:
    return (
        f"{what} is a pickle, which can run any program when it is opened, and is refused; "
        "ask for the model as exported by `napari-d2r models export`, or convert published weights "
        "by `napari-d2r models import FILE.pth --voxel-size Z,Y,X`."
    )


def _files(folder: Path) -> list[Path]:
    index = load_index(folder)
    places = [folder / name for name in index.models] if index else [folder]
    files = [place / name for place in places for name in (CARD, CARD_TEXT, WEIGHTS)]
    return [path for path in [folder / INDEX, *files] if path.is_file()]


def _clean_name(name: str) -> str:
    """A name that is one folder on any system and no option of a command."""
    clean = re.sub(r"[^\w .+-]+", "_", name).strip(" .-")[:80]
    if not clean or clean.lower() in {"bundled", "scratch"}:
        raise InputError(f"A model cannot be called {name!r}; choose another name.")
    return clean


def require_hash(source: Path, sha256: str) -> None:
    """Raise `ModelFileError` unless a file hashes to what it should."""
    if not source.is_file():
        raise ModelFileError(f"There is no model file at {source}.")
    if _sha256(source) != sha256.strip().lower():
        raise ModelFileError(
            f"{source.name} is not the file that was meant: its SHA-256 differs; get it again."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sweep(home: Path) -> None:
    for left in home.glob(".import-*"):
        if time.time() - left.stat().st_mtime > _STALE_S:
            shutil.rmtree(left, ignore_errors=True)


def shown(name: str) -> str:
    """A name that a stranger chose, quoted and not too long."""
    return repr(name if len(name) <= 80 else name[:77] + "...")
