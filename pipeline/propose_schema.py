"""Writes out the schema that a run inferred from its training split, for review against the curated one.

python -m pipeline.propose_schema [RUN] [--name NAME] [--output FILE] [--output-root OUTPUT]

Without RUN, of the latest run that inferred one, on the data set of that name if it is given. It is compared with the
data set's own curated schema, `schema.pbtxt` beside the data, or Fashion-MNIST's, and written beside that one, as
`proposal.pbtxt`, or, where nothing can be written there, into the current folder.
"""

import argparse
import os
import sys
from pathlib import Path

from components.errors import InputError, disk_told
from components.example_gen.dataset import folder_beside, read_schema_file
from models.features import SCHEMA_FILE
from models.files import write_text
from pipeline.metadata.store import Run, Store
from pipeline.output_root import DEFAULT, OutputRoot, writing
from pipeline.project import a_path, is_installed, program
from pipeline.run.console import legible
from pipeline.run.data import FASHION_MNIST_SCHEMA

PROPOSAL_FILE = "proposal.pbtxt"
_HEAD = "# Inferred by run {run} from {name}. Review it; what should hold belongs into {curated}.\n"


def find_proposal(store: Store, text: str | None, name: str | None) -> tuple[Run, Path]:
    """Returns the run that is asked about, and the schema that it proposed.

    Args:
      store: of the output root.
      text: a run's id or its beginning, or "latest"; None for the latest that proposed a schema.
      name: of the data set; None for any.

    Raises:
      InputError: there is no such run, or it has come no further than SchemaGen.
    """
    if text is not None:
        run = store.find_run(text)
        if name is not None and run.properties.get("name") != name:
            found = run.properties.get("name", "none")
            raise InputError(f"run {run.id}: expected one on the data set {name}, found {found}. Leave --name out.")
        candidates = [run]
    else:
        candidates = [run for run in reversed(store.runs()) if name in (None, run.properties.get("name"))]
    for run in candidates:
        if (path := _proposal_of(store, run)) is not None:
            return store.whole(run), path
    names = sorted({run.properties["name"] for run in store.runs() if "name" in run.properties})
    asked = f"run {text}" if text else f"a run on {name}" if name else "a run"
    known = f"; there are runs on {', '.join(names)}" if names else ""
    raise InputError(
        f"{store.path}: expected {asked} that inferred a schema, found none{known}. Run the pipeline first."
    )


def _proposal_of(store: Store, run: Run) -> Path | None:
    for execution in store.executions_of(run):
        for key, number in store.outputs.get(execution.id, ()):
            path = Path(store.artifacts[number].uri, SCHEMA_FILE)
            if key == "proposal" and path.is_file():
                return path
    return None


def is_packed(curated: Path) -> bool:
    """Whether a curated schema is the one packed with an installed program, which is not for editing."""
    return is_installed() and curated == FASHION_MNIST_SCHEMA


def curated_file(run: Run) -> Path:
    """Returns where the curated schema of a run's data set lies, or would lie."""
    data = run.properties.get("data") or {}
    beside = folder_beside(Path(data.get("folder", "."))) / SCHEMA_FILE
    return FASHION_MNIST_SCHEMA if data.get("is_fashion_mnist") and not beside.is_file() else beside


def target_of(curated: Path, output: Path | None) -> Path:
    """Returns the file that the proposal is written to.

    Raises:
      InputError: it would take the place of a file that is no proposal of this command's.
    """
    place = Path() if is_packed(curated) else curated.parent
    target = output or (place if place.is_dir() and os.access(place, os.W_OK) else Path()) / PROPOSAL_FILE
    if target.is_dir():
        raise InputError(f"{target}: expected the name of a file, found a folder. Name a file with --output.")
    if target.exists() and not target.read_bytes().startswith(_HEAD.partition("{")[0].encode()):
        raise InputError(f"{target}: expected none, or an earlier proposal, found a file. Name another with --output.")
    return target


def main(argv: list[str] | None = None) -> int:
    """Writes the proposal and tells where it differs; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=program("python -m pipeline.propose_schema"), description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("run", metavar="RUN", nargs="?", help="'latest', or the beginning of an id")
    parser.add_argument("--name", help="of the data set, whose latest run is meant")
    parser.add_argument(
        "--output", type=a_path, metavar="FILE", help="to write (proposal.pbtxt beside the curated one)"
    )
    parser.add_argument("--output-root", type=a_path, default=DEFAULT, help="of the run (output/)")
    arguments = parser.parse_args(argv)
    legible()
    try:
        with disk_told():
            store = Store(OutputRoot(arguments.output_root).metadata)
            run, proposal = find_proposal(store, arguments.run, arguments.name)
            curated = curated_file(run)
            target = target_of(curated, arguments.output)
        for line in _differences(curated, proposal):
            print(line)
        head = _HEAD.format(run=run.id, name=run.properties.get("name", "the data"), curated=curated)
        with writing(target, "Name another with --output."):
            write_text(target, head + proposal.read_text(encoding="utf-8"))
    except InputError as error:
        print(f"propose_schema: {error}", file=sys.stderr)
        return error.exit_status
    told = "carry over to" if curated.is_file() else "to make it the curated one, copy it to"
    place = f"{SCHEMA_FILE} beside your data" if is_packed(curated) else curated
    print(f"wrote {target} (run {run.id}): review it, and {told} {place}" + " what should hold" * curated.is_file())
    return 0


def _differences(curated: Path, proposal: Path) -> list[str]:
    if not curated.is_file():
        return [f"{curated}: there is no curated schema of these data"]
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    from components.schema_gen.differences import schema_differences

    texts = read_schema_file(curated), proposal.read_text(encoding="utf-8")
    schemas = [text_format.Parse(text, schema_pb2.Schema()) for text in texts]
    return schema_differences(*schemas) or [f"{curated} says of the data what they say themselves"]


if __name__ == "__main__":
    sys.exit(main())
