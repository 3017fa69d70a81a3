"""Publishes a blessed model that was held back or taken back: python -m pipeline.publish RUN [--output-root OUTPUT].

RUN is a run's id, the beginning of one, or 'latest': the model that it made is served from then on, whatever was.
It must have been blessed. A number of digits alone may be a version in the serving folder instead, to be served again.
"""

import sys
from pathlib import Path

from components.errors import InputError, disk_told
from components.pusher.history import acts
from components.pusher.serving_folder import offer
from models.card import read_card
from pipeline.config import PipelineConfig
from pipeline.metadata.artifacts import RunArtifacts
from pipeline.metadata.store import Run, Store
from pipeline.output_root import OutputRoot
from pipeline.run.aftermath import refresh
from pipeline.run.console import legible
from pipeline.served import parser_of, serving_folder

# Where TFX keeps the servable form within a model's folder.
_SAVED_MODEL = "Format-Serving"


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 where there is no such model, or it was not blessed."""
    parser = parser_of("publish", __doc__)
    parser.add_argument("run", metavar="RUN|VERSION", help="the one whose model to serve")
    arguments = parser.parse_args(argv)
    legible()
    root = OutputRoot(arguments.output_root)
    try:
        with disk_told():
            print(publish(root, arguments.run, serving_folder(root, arguments.model)))
    except InputError as error:
        print(f"publish: {error}", file=sys.stderr)
        return error.exit_status
    for told in refresh(root):
        print(f"publish: {told}", file=sys.stderr)
    return 0


def publish(root: OutputRoot, name: str, folder: Path) -> str:
    """Publishes the model of a run, or a version in `folder` again; returns what came of it, in a line.

    Raises:
      InputError: there is none, it was not blessed, or a run goes on; what is served is as it was.
    """
    with root.lock("Wait for its end, then publish."):
        store = Store(root.metadata)
        version = next((act for act in acts(folder) if str(act.number) == name), None)
        if version is not None:
            model, base, keep, card, may_grow = folder / str(version.files), folder, None, None, False
            told = f"version {name}"
        else:
            run = store.find_run(name)
            model, base = blessed_model(store, run), root.serving(run.properties["published_as"])
            settings, otherwise = run.properties["settings"], PipelineConfig()
            keep = settings.get("kept_versions", otherwise.kept_versions)
            replaces = settings.get("replace_other_classes", otherwise.replace_other_classes)
            card, told = None if replaces else read_card(model), f"the model of run {run.id}"
            # As the run's Pusher does: a class that is new in a span was let in by name.
            may_grow = bool(run.properties.get("span"))
        found = offer(model, base, keep=keep, card=card, may_grow=may_grow, asked=True)
        # A third of a second, when it is served.
        from pipeline.run.publications import record_in

        problem = record_in(root)
    line = f"{told} is {found.outcome}, as {base / str(found.version)}"
    return f"{line}\nnot yet in ML Metadata ({problem}); the next run records it" if problem else line


def blessed_model(store: Store, run: Run) -> Path:
    """Returns the folder of the SavedModel that a run made.

    Raises:
      InputError: it made none, the last word on it was no blessing, or its files are gone.
    """
    artifacts = RunArtifacts(store, run)
    number = artifacts.number("Model")
    exported = number is not None and store.executions[store.producers[number]].node == "Exporter"
    if not exported or "published_as" not in run.properties:
        raise InputError(f"run {run.id}: expected a model, found none. Name another run; 'runs' lists them.")
    made = _readers_outputs(store, number)
    for kind, node in (("InfraBlessing", "InfraValidator"), ("ModelBlessing", "Evaluator")):
        # That of the run, or the last word of another on its model.
        own = artifacts.number(kind)
        asked = [own] if own else sorted(a for a in made if store.artifacts[a].type == kind)
        said = [store.properties("Artifact", a).get("blessed") for a in asked]
        if not said or said[-1] != 1:
            found = "it refused it" if said else "nobody asked it"
            raise InputError(
                f"run {run.id}: expected a model that the {node} blessed, found that {found}. Name another run, or run "
                f"the pipeline with --from {node}."
            )
    model = Path(store.artifacts[number].uri, _SAVED_MODEL)
    if not model.is_dir():
        raise InputError(f"{model}: the files of run {run.id}'s model are gone. Run the pipeline again to make them.")
    return model


def _readers_outputs(store: Store, model: int) -> list[int]:
    """Returns what those made that read a model as theirs, not as what they compared with."""
    return [
        output
        for reader in dict.fromkeys(store.consumers.get(model, ()))
        if ("model", model) in store.inputs[reader]
        for _, output in store.outputs.get(reader, ())
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
