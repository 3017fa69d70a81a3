"""Draws a lineage: as a tree for a terminal, for Graphviz, for Mermaid, as JSON."""

import json
from collections.abc import Callable

from pipeline.metadata.lineage import Edge, Lineage
from pipeline.metadata.show import name_execution
from pipeline.metadata.store import Store
from pipeline.metadata.text import flatten, shorten
from pipeline.nodes import NODES

# What is to be drawn next, and its edge, the indent, and whether it is the last of its kind.
_Step = tuple[Callable[..., list], Edge, str, bool]


def _describe_artifact(store: Store, number: int) -> str:
    artifact = store.artifacts[number]
    properties = store.properties("Artifact", number)
    made = store.executions.get(store.producers.get(number, 0))
    node = NODES.get(made.node if made else "")
    keys = {key for key, output in store.outputs.get(made.id, ()) if output == number} if made else set()
    names = [name for key in keys for name in (node.shown.get(key, ()) if node else ("pushed_version",))]
    shown = [f"{name} {shorten(properties[name], 70)}" for name in names if properties.get(name)]
    return ", ".join([f"a{number} {artifact.type}", *shown])


def as_tree(store: Store, graph: Lineage) -> str:
    """Returns the graph as a tree for a terminal; what stands above already is not followed again."""
    lines = [f"{_describe_artifact(store, graph.root)}  {store.artifacts[graph.root].uri}"]
    by_artifact: dict[int, list[Edge]] = {}
    by_execution: dict[int, list[Edge]] = {}
    for edge in graph.edges:
        towards = by_artifact if edge.is_input == graph.down else by_execution
        towards.setdefault(edge.artifact if towards is by_artifact else edge.execution, []).append(edge)
    seen: set[str] = set()

    def of_artifact(number: int, indent: str) -> list[_Step]:
        edges = by_artifact.get(number, [])
        return [(of_execution, edge, indent, edge is edges[-1]) for edge in edges]

    def of_execution(edge: Edge, indent: str, last: bool) -> list[_Step]:
        execution = store.executions[edge.execution]
        name = f"e{execution.id}"
        where = f"{execution.state} in run {execution.run}" if execution.run != "?" else "outside of a run"
        label = f"{name_execution(execution)}, {where}"
        label += f", as {edge.key}" if graph.down else ""
        note = " (compared with)" if edge.compared else " (above)" if name in seen else ""
        lines.append(f"{indent}{'└─ ' if last else '├─ '}{label}{note}")
        if note:
            return []
        seen.add(name)
        deeper = indent + ("   " if last else "│  ")
        below = by_execution.get(execution.id, [])
        if not graph.down:
            rule = "│  " if below else "   "
            lines.extend(f"{deeper}{rule}{text}" for text in _settings(store, execution.id))
        return [(within, step, deeper, step is below[-1]) for step in below]

    def within(edge: Edge, indent: str, last: bool) -> list[_Step]:
        name = f"a{edge.artifact}"
        note = " (compared with)" if edge.compared else " (above)" if name in seen else ""
        lines.append(f"{indent}{'└─ ' if last else '├─ '}{edge.key}: {_describe_artifact(store, edge.artifact)}{note}")
        if note:
            return []
        seen.add(name)
        return of_artifact(edge.artifact, indent + ("   " if last else "│  "))

    # No recursion: a thousand trainings may each have begun with the one before.
    waiting = of_artifact(graph.root, "")[::-1]
    while waiting:
        draw, *step = waiting.pop()
        waiting += draw(*step)[::-1]
    return "\n".join([*lines, *_runs_settings(store, graph)])


def _settings(store: Store, execution: int) -> list[str]:
    """Returns a line for each property of an execution, those kept as JSON taken apart."""
    found = {}
    for name, value in store.properties("Execution", execution).items():
        try:
            found |= flatten(json.loads(value) if isinstance(value, str) and value[:1] == "{" else value, name)
        except ValueError:
            found[name] = value
    return [f"{name} = {shorten(value, 80)}" for name, value in sorted(found.items())]


def _runs_settings(store: Store, graph: Lineage) -> list[str]:
    """Returns what the runs were made of in which the nodes ran: revision, data, code and every setting."""
    if graph.down:
        return []
    ran = dict.fromkeys(store.executions[edge.execution].run for edge in graph.edges)
    lines = []
    for run in store.runs():
        if run.id in ran and run.properties:
            kept = store.whole(run).properties
            parts = {"git": kept.get("git"), "data": kept.get("data"), "settings": kept.get("settings")}
            lines += ["", f"run {run.id}", f"  code = {kept.get('code', {}).get('digest')}"]
            lines += [f"  {name} = {shorten(value, 100)}" for name, value in flatten(parts).items()]
    return lines


def as_json(store: Store, graph: Lineage) -> dict:
    """Returns the graph with every property of its artifacts and executions, and what the runs were made of."""
    artifacts = dict.fromkeys([graph.root, *(edge.artifact for edge in graph.edges)])
    executions = dict.fromkeys(edge.execution for edge in graph.edges)
    runs = {store.executions[number].run for number in executions}
    return {
        "root": f"a{graph.root}",
        "direction": "down" if graph.down else "up",
        "artifacts": [
            {
                "id": f"a{number}",
                "type": store.artifacts[number].type,
                "uri": store.artifacts[number].uri,
                "properties": store.properties("Artifact", number),
            }
            for number in artifacts
        ],
        "executions": [
            {
                "id": f"e{number}",
                "node": store.executions[number].node,
                "run": store.executions[number].run,
                "state": store.executions[number].state,
                "properties": store.properties("Execution", number),
            }
            for number in executions
        ],
        "edges": [
            {
                "from": source,
                "to": target,
                "key": edge.key,
                "compared": edge.compared,
            }
            for source, target, edge in _arrows(graph)
        ],
        "runs": {run.id: store.whole(run).properties for run in store.runs() if run.id in runs},
    }


def as_dot(store: Store, graph: Lineage) -> str:
    """Returns the graph for Graphviz: artifacts as boxes, executions as ellipses."""
    lines = ["digraph lineage {", "  rankdir=LR;"]
    for name, label, is_artifact in _labels(store, graph):
        lines.append(f"  {name} [shape={'box' if is_artifact else 'ellipse'}, label={json.dumps(label)}];")
    for source, target, edge in _arrows(graph):
        style = ", style=dashed" if edge.compared else ""
        lines.append(f"  {source} -> {target} [label={json.dumps(edge.key)}{style}];")
    return "\n".join([*lines, "}"])


def as_mermaid(store: Store, graph: Lineage) -> str:
    """Returns the graph for Mermaid, as README files render it."""
    lines = ["flowchart LR"]
    for name, label, is_artifact in _labels(store, graph):
        quoted = json.dumps(label.replace('"', "'"), ensure_ascii=False)
        lines.append(f"    {name}[{quoted}]" if is_artifact else f"    {name}([{quoted}])")
    for source, target, edge in _arrows(graph):
        lines.append(f"    {source} {'-.->' if edge.compared else '-->'}|{edge.key}| {target}")
    return "\n".join(lines)


def _labels(store: Store, graph: Lineage) -> list[tuple[str, str, bool]]:
    artifacts = dict.fromkeys([graph.root, *(edge.artifact for edge in graph.edges)])
    executions = dict.fromkeys(edge.execution for edge in graph.edges)
    return [
        *((f"a{number}", _describe_artifact(store, number), True) for number in artifacts),
        *((f"e{number}", name_execution(store.executions[number]), False) for number in executions),
    ]


def _arrows(graph: Lineage) -> list[tuple[str, str, Edge]]:
    """Returns each edge once, from what was there first to what came of it."""
    found = {}
    for edge in graph.edges:
        ends = (f"a{edge.artifact}", f"e{edge.execution}")
        source, target = ends if edge.is_input else ends[::-1]
        found[source, target, edge.key] = edge
    return [(source, target, edge) for (source, target, _), edge in found.items()]


RENDERERS = {"tree": as_tree, "dot": as_dot, "mermaid": as_mermaid}
