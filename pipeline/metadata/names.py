"""Finds what a word on the command line names: a run, an artifact or an execution.

`a8` is artifact 8 and `e8` execution 8, as everything here prints them; a number of digits alone that is a folder in
`serving/`, and any path, is the artifact that was written there.
"""

import os
import re
from pathlib import Path

from components.errors import InputError
from pipeline.metadata.artifacts import RunArtifacts
from pipeline.metadata.store import Artifact, Execution, Run, Store
from pipeline.output_root import OutputRoot


def find(store: Store, text: str) -> Run | Artifact | Execution:
    """Returns what `text` names.

    Raises:
      InputError: there is none, or more than one.
    """
    numbered = re.fullmatch(r"([ae])(\d+)", text)
    if numbered:
        kind, number = numbered[1], int(numbered[2])
        found = (store.artifacts if kind == "a" else store.executions).get(number)
        if found is None:
            word, table = ("artifact", store.artifacts) if kind == "a" else ("execution", store.executions)
            raise InputError(f"{word} {text}: expected {kind}1 to {kind}{max(table, default=0)}, found none.")
        return found
    artifact = _by_place(store, text)
    return artifact if artifact is not None else store.find_run(text)


def find_artifact(store: Store, text: str) -> Artifact:
    """Returns the artifact that `text` names; for a run, the model that it pushed or else trained.

    Raises:
      InputError: there is none.
    """
    found = find(store, text)
    if isinstance(found, Artifact):
        return found
    if isinstance(found, Execution):
        raise InputError(f"{text}: expected an artifact (a1), a path, a served version or a run, found an execution.")
    artifacts = RunArtifacts(store, found)
    kind = "PushedModel" if artifacts.properties("PushedModel").get("pushed") else "Model"
    number = artifacts.number(kind)
    if number is not None:
        return store.artifacts[number]
    raise InputError(f"run {found.id}: expected a model, found none. Name another run, or an artifact of this one.")


def _by_place(store: Store, text: str) -> Artifact | None:
    """Returns the artifact written to a path, or pushed as a version."""
    # A link may lead to the folder, and a database may have been made under another name of it.
    names = {text.rstrip("/"), os.path.realpath(text), _named(text)}
    for artifact in store.artifacts.values():
        if artifact.uri and artifact.uri in names:
            return artifact
    root = OutputRoot.of_database(store.path)
    pushed = [
        number
        for number, destination in store.property_of_all("Artifact", "pushed_destination").items()
        if destination and (destination.rsplit("/", 1)[-1] == text or _named(root.version(destination)) in names)
    ]
    return store.artifacts[max(pushed)] if pushed else None


def _named(path: Path | str) -> str:
    """Returns a path without links but the last part: a version may be a link to another."""
    return str(Path(os.path.realpath(Path(path).parent), Path(path).name))
