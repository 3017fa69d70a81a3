"""Which served model a command is about: the one meaning of `--model` in rollback, publish and predict.

Synopsis:

    serving_folder(OutputRoot("output"), "fashion_mnist")       # output/serving/fashion_mnist
"""

import argparse
from pathlib import Path

from components.errors import InputError
from components.pusher.history import served_version, versions
from components.pusher.serving_folder import nothing_served
from pipeline.output_root import DEFAULT, OutputRoot
from pipeline.project import a_path, program

DEFAULT_MODEL = "fashion_mnist"


def parser_of(command: str, description: str) -> argparse.ArgumentParser:
    """Returns the parser of a command about a served model, with `--output-root` and `--model`."""
    parser = argparse.ArgumentParser(
        prog=program(f"python -m pipeline.{command}"),
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--output-root", type=a_path, default=DEFAULT, help="of the runs (output/)")
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME|FOLDER",
        help=f"name under which it is served, or its folder ({DEFAULT_MODEL})",
    )
    return parser


def serving_folder(root: OutputRoot, model: str) -> Path:
    """Returns the folder that a model server watches: of that name, or the folder itself."""
    return Path(model) if Path(model).parts[1:] else root.serving(model)


def model_to_ask(root: OutputRoot, model: str) -> Path:
    """Returns the SavedModel to ask: the served version of a model, or the one version that a folder is.

    Raises:
      InputError: there is none.
    """
    for folder in (Path(model), serving_folder(root, model)):
        if (folder / "saved_model.pb").is_file():
            return folder
    # A folder in the current one has but one part.
    folder = next((path for path in (serving_folder(root, model), Path(model)) if served_version(path)), None)
    if folder is None:
        asked = serving_folder(root, model)
        below = sorted(path for path in asked.glob("*") if path.is_dir() and versions(path))
        if below:
            raise InputError(
                f"{asked}: expected the versions of one served model, found "
                f"{', '.join(path.name for path in below)}. Name one of them: --model {below[0]}."
            )
        raise nothing_served(asked)
    return folder / str(served_version(folder))
