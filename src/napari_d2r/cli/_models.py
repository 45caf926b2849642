"""``napari-d2r models``: list, show, verify, import, export and remove models."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from napari_d2r.cli._options import AddParser, voxel_size
from napari_d2r.cli._progress import Reporter
from napari_d2r.errors import InputError, ModelFileError
from napari_d2r.jobs import CancelToken, Outcome

_MODEL_HELP = "bundled, the name of an imported model, or the folder of one"


def add_models(add: AddParser) -> None:
    """Declare the command."""
    parser = add("models", help="list, check, import and export models")
    parser.set_defaults(run=_with(_list))
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    actions.add_parser("list", help="all models that are known here; the default")
    show = actions.add_parser("show", help="the card of a model")
    show.add_argument("model", type=Path, help=_MODEL_HELP)
    show.set_defaults(run=_with(_show))
    verify = actions.add_parser("verify", help="check cards, hashes and weights")
    verify.add_argument("models", type=Path, nargs="*", help=f"{_MODEL_HELP}; default: all")
    verify.set_defaults(run=_with(_verify))
    take = actions.add_parser("import", help="check a model file and keep a copy of it")
    take.add_argument(
        "file", type=Path, help="a zip file, the folder of a model, or a .pth of D2R or IR-SDE"
    )
    take.add_argument("--name", help="what to call it; default: the name of the file")
    take.add_argument("--sha256", help="what the file must hash to")
    take.add_argument(
        "--voxel-size",
        type=voxel_size,
        metavar="Z,Y,X",
        help="of a .pth: of the stack that it learned to restore, in nm",
    )
    take.set_defaults(run=_with(_import))
    give = actions.add_parser("export", help="write a model to one file")
    give.add_argument("model", type=Path, help=_MODEL_HELP)
    give.add_argument("file", type=Path, help="a new *.zip")
    give.add_argument(
        "--to",
        choices=("napari-d2r", "bioimageio"),
        default="napari-d2r",
        help="for this program, or a package of bioimage.io for others; default: napari-d2r",
    )
    give.add_argument(
        "--factor", type=int, metavar="R", help="of bioimageio: built in; default: the model's gap"
    )
    give.add_argument("--author", action="append", metavar="NAME", help="of bioimageio; repeatable")
    give.add_argument("--licence", metavar="SPDX", help="of bioimageio; default: that of the card")
    give.set_defaults(run=_with(_export))
    remove = actions.add_parser(
        "remove", help="delete an imported model, or take a trained one off the list"
    )
    remove.add_argument("model", type=Path, help=_MODEL_HELP)
    remove.set_defaults(run=_with(_remove))


def _with(
    action: Callable[[argparse.Namespace, Reporter], None],
) -> Callable[[argparse.Namespace, CancelToken, Reporter], Outcome]:
    """An action, as the command line runs commands."""

    def run(arguments: argparse.Namespace, cancel: CancelToken, reporter: Reporter) -> Outcome:
        action(arguments, reporter)
        return Outcome.COMPLETED

    return run


def _list(arguments: argparse.Namespace, reporter: Reporter) -> None:
    from napari_d2r.checkpoints import all_models

    reporter.print(f"{one.word} ({one.origin}): {one.card.summary}" for one in all_models())


def _show(arguments: argparse.Namespace, reporter: Reporter) -> None:
    from napari_d2r.checkpoints import load_card, model_folder, render_card

    reporter.print([render_card(load_card(model_folder(arguments.model))[0])])


def _verify(arguments: argparse.Namespace, reporter: Reporter) -> None:
    from napari_d2r.checkpoints import all_folders, model_folder, verify_model

    damaged = []
    for model in arguments.models or all_folders():
        try:
            cards = verify_model(model_folder(model))
        except ModelFileError as error:
            damaged.append(str(model))
            reporter.print([f"{model}: {error}"])
        else:
            hashes = ", ".join(f"{card.role} {card.weights_sha256[:12]}" for card in cards)
            reporter.print([f"{model}: sound ({hashes})"])
    if damaged:
        raise InputError(f"Not sound: {', '.join(damaged)}; import or train it again.")


def _import(arguments: argparse.Namespace, reporter: Reporter) -> None:
    from napari_d2r.checkpoints import import_model, import_published, load_card

    names = {"name": arguments.name, "sha256": arguments.sha256}
    if arguments.file.suffix.lower() in (".pth", ".pt"):
        if arguments.voxel_size is None:
            raise InputError(
                f"{arguments.file.name} does not say what it is for; give the voxel size of the "
                "stacks that it learned to restore, such as --voxel-size 80,10,10."
            )
        folder = import_published(arguments.file, arguments.voxel_size, **names)
    elif arguments.voxel_size is not None:
        raise InputError("--voxel-size goes with a .pth; the card of a model tells its own.")
    else:
        folder = import_model(arguments.file, **names)
    card, _ = load_card(folder)
    reporter.print([f"{folder.name}: {card.summary}", f"use it by --model '{folder.name}'"])


def _export(arguments: argparse.Namespace, reporter: Reporter) -> None:
    from napari_d2r.checkpoints import export_model, model_folder

    folder = model_folder(arguments.model)
    if arguments.to == "bioimageio":
        from napari_d2r.stages.bioimageio import export_bioimageio

        digest = export_bioimageio(
            folder,
            arguments.file,
            factor=arguments.factor,
            authors=arguments.author or (),
            licence=arguments.licence,
        )
    elif (arguments.factor, arguments.author, arguments.licence) != (None, None, None):
        raise InputError("--factor, --author and --licence go with --to bioimageio.")
    else:
        digest = export_model(folder, arguments.file)
    reporter.print([f"{arguments.file}: SHA-256 {digest}"])


def _remove(arguments: argparse.Namespace, reporter: Reporter) -> None:
    from napari_d2r.checkpoints import remove_model

    reporter.print([remove_model(arguments.model)])
