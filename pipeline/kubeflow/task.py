"""What the container of a node runs on Kubeflow Pipelines: says where things lie there, then runs TFX's executor.

python -m pipeline.kubeflow.task --shared FOLDER --data FOLDER [--mount URI=FOLDER] TFX's arguments

Executors read and write files by their paths. Where the outputs lie in an object store, it is mounted as a folder
(gs://=/gcs/): addresses become paths on the way in and addresses again on the way out.

Synopsis:

    moved('{"uri": "gs://bucket/a"}', "gs://", "/gcs/")      # '{"uri": "/gcs/bucket/a"}'
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import yaml

from components import places
from components.errors import InputError, PipelineError
from components.example_gen.dataset import inspect_dataset
from models.memory import budget_bytes
from pipeline.run.data import image_settings
from pipeline.run.outcome import describe_failure
from pipeline.settings import resolve
from pipeline.surroundings import taken_over

_INVOCATION = "--json_serialized_invocation_args"


def main(argv: list[str] | None = None) -> int:
    """Runs one node, and returns the exit status: those of local_runner.py, as far as one node knows them."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.kubeflow.task", allow_abbrev=False)
    parser.add_argument("--shared", type=Path, required=True, help="folder of checkpoints, trials and what is served")
    parser.add_argument("--data", type=Path, required=True, help="folder with the data")
    parser.add_argument("--mount", default="", metavar="URI=FOLDER", help="where an object store is mounted")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    arguments, rest = parser.parse_known_args(argv)
    try:
        with tempfile.TemporaryDirectory() as folder, taken_over(os.environ, Path(folder)) as notes:
            for line in notes:
                print(line, flush=True)
            _run(arguments, rest)
    except Exception as error:
        text, status = describe_failure(error)
        print(f"{parser.prog}: {text}", file=sys.stderr)
        if status == 1 and not isinstance(error, PipelineError):
            raise
        return status
    return 0


def _run(arguments: argparse.Namespace, rest: list[str]) -> None:
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor as tfx_task

    config = resolve(preset=None, flags={}, assignments=arguments.set, file=None, environ={}).config
    shared = {name: arguments.shared / name for name in ("checkpoints", "trials", "serving")}
    places.tell(memory=budget_bytes(config.memory_mib), **shared)
    uri, _, mounted = arguments.mount.partition("=")
    position = rest.index(_INVOCATION) + 1
    given = json.loads(moved(rest[position], uri, mounted))
    for read in given.get("inputs", {}).get("artifacts", {}).values():
        read["artifacts"] = [typed(artifact) for artifact in read.get("artifacts", ())]
    for made in given["outputs"].get("artifacts", {}).values():
        # As TFX's own drivers do, which do not run there.
        for artifact in made["artifacts"]:
            Path(artifact["uri"]).mkdir(parents=True, exist_ok=True)
    rest[position] = json.dumps(given)
    _tell_data(given, arguments.data, image_settings(config))
    tfx_task.main(tfx_task._parse_flags(rest))
    written = Path(given["outputs"]["outputFile"])
    # Nobody reads it before this process has ended.
    written.write_text(moved(written.read_text(encoding="utf-8"), mounted, uri), encoding="utf-8")


def moved(text: str, start: str, instead: str) -> str:
    """Returns a text in JSON with another beginning for each text in it that has this one."""
    return text.replace(f'"{start}', f'"{instead}') if start else text


def typed(artifact: dict) -> dict:
    """Returns an artifact with the properties that its executor gave it as those, text and whole numbers among them.

    As metadata, TFX reads all but the properties of its type as structures, and whole numbers as others. What is a
    structure stays there.
    """
    declared = yaml.safe_load(artifact.get("type", {}).get("instanceSchema", "{}")).get("properties", {})
    metadata = artifact.get("metadata", {})
    own = {name for name, value in metadata.items() if name not in declared and isinstance(value, str | int | float)}
    return {
        **artifact,
        "metadata": {name: value for name, value in metadata.items() if name not in own},
        "customProperties": {name: _value(value) for name, value in metadata.items() if name in own},
    }


def _value(value: object) -> dict:
    if isinstance(value, str):
        return {"stringValue": value}
    return {"intValue": str(int(value))} if int(value) == value else {"doubleValue": value}


def _tell_data(given: dict, folder: Path, images) -> None:
    asked = given.get("inputs", {}).get("parameters", {}).get("input_digest", {}).get("stringValue")
    if asked is None:
        return
    dataset = inspect_dataset(folder, images)
    if dataset.digest != asked:
        raise InputError(
            f"--data {folder}: expected the data that the pipeline was compiled for, of digest {asked[:12]}, found "
            f"others, {dataset.digest[:12]}. Compile it again, or put the data back."
        )
    places.tell(dataset)


if __name__ == "__main__":
    sys.exit(main())
