"""The artifacts of a run by type: those that it made or took from the cache and, in a part of the pipeline, read."""

from pathlib import Path

from pipeline.metadata.store import Run, Store, is_resolver
from pipeline.nodes import NODES

# What is not meant where its type is asked for: a schema that is only proposed, what a model is exported from.
_NOT_MEANT = ("proposal", "trained")


def looked_up(store: Store) -> set[tuple[str, int]]:
    """Returns the artifacts that resolvers chose, each with the run that they chose it in."""
    return {
        (execution.run, number)
        for execution in store.executions.values()
        if is_resolver(execution)
        for _, number in store.chosen(execution.id)
    }


class RunArtifacts:
    """Looks up the artifacts of a run."""

    def __init__(self, store: Store, run: Run) -> None:
        self._store = store
        self._found: dict[str, int] = {}
        order = list(NODES)
        # Not as they were recorded: what a part of the pipeline takes over is recorded in any order.
        executions = sorted(
            (execution for execution in store.executions_of(run) if not is_resolver(execution)),
            key=lambda execution: order.index(execution.node) if execution.node in order else -1,
        )
        # What a resolver chose for a node to read is of other runs, or another node has put it out.
        others = {number for name, number in looked_up(store) if name == run.id}
        # What was made counts more than what was read; the latest node's more than those before it.
        for events, left_out in ((store.outputs, ()), (store.inputs, others)):
            for execution in reversed(executions):
                for key, number in events.get(execution.id, ()):
                    if key not in _NOT_MEANT and number not in left_out:
                        self._found.setdefault(store.artifacts[number].type, number)

    def number(self, kind: str) -> int | None:
        """Returns the id of the artifact of type `kind`, None where there is none."""
        return self._found.get(kind)

    def folder(self, kind: str) -> Path | None:
        """Returns the folder of the artifact of type `kind`, None where there is none any more."""
        folder = Path(self._store.artifacts[self._found[kind]].uri) if kind in self._found else None
        return folder if folder is not None and folder.is_dir() else None

    def properties(self, kind: str) -> dict:
        """Returns the custom properties of the artifact of type `kind`, {} where there is none."""
        return self._store.properties("Artifact", self._found[kind]) if kind in self._found else {}
