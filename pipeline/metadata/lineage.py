"""`lineage`: what an artifact was made of, back to data, code and settings; or what was made of it.

A model that a candidate was compared with and data that the gate compared with are shown and not followed: they judge
what is made, they are no part of it. What a resolver chose to be trained on, or to begin with, is followed.
"""

import dataclasses

from pipeline.metadata.store import Artifact, Store
from pipeline.nodes import NODES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edge:
    """One event: artifact and execution, the input's or output's key, and whether it was only compared with."""

    artifact: int
    execution: int
    key: str
    is_input: bool
    compared: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lineage:
    """The part of the graph that an artifact leads to; edges lie in the order of their discovery."""

    root: int
    down: bool
    edges: list[Edge]


def trace(store: Store, artifact: Artifact, *, down: bool) -> Lineage:
    """Returns everything that `artifact` was made of, or, `down`, that was made of it."""
    # Whichever node read it: in older versions other nodes read the baseline.
    compared = {key for node in NODES.values() for key in node.compares}
    edges: list[Edge] = []
    seen_artifacts, seen_executions = {artifact.id}, set()
    waiting = [artifact.id]
    while waiting:
        number = waiting.pop()
        steps = _readers(store, number, compared) if down else _makers(store, number)
        for step in steps:
            edges.append(step)
            if step.compared or step.execution in seen_executions:
                continue
            seen_executions.add(step.execution)
            further = _made(store, step.execution) if down else _read(store, step.execution, compared)
            for edge in further:
                edges.append(edge)
                if not edge.compared and edge.artifact not in seen_artifacts:
                    seen_artifacts.add(edge.artifact)
                    waiting.append(edge.artifact)
    return Lineage(root=artifact.id, down=down, edges=edges)


def _makers(store: Store, artifact: int) -> list[Edge]:
    execution = store.producers.get(artifact)
    if execution is None:
        return []
    return [edge for edge in _made(store, execution) if edge.artifact == artifact]


def _made(store: Store, execution: int) -> list[Edge]:
    return [
        Edge(artifact=number, execution=execution, key=key, is_input=False)
        for key, number in store.outputs.get(execution, ())
    ]


def _read(store: Store, execution: int, compared: set[str]) -> list[Edge]:
    return [
        Edge(artifact=number, execution=execution, key=key, is_input=True, compared=key in compared)
        for key, number in store.inputs.get(execution, ())
    ]


def _readers(store: Store, artifact: int, compared: set[str]) -> list[Edge]:
    readers = dict.fromkeys(store.consumers.get(artifact, ()))
    return [edge for reader in readers for edge in _read(store, reader, compared) if edge.artifact == artifact]
