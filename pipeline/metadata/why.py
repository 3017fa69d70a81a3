"""`why`: why a node ran or was cached, naming the changed input, setting or source file.

What TFX's cache looks at is compared with the node's latest earlier success: inputs, properties, and behind the digest
of the code each module of it. A changed input leads on to the node that made it.
"""

import json
from pathlib import Path

from components.errors import InputError
from pipeline.metadata.changes import changes
from pipeline.metadata.store import Execution, Run, Store, is_resolver, state_told
from pipeline.metadata.text import brief, shorten
from pipeline.nodes import NODES
from pipeline.project import ROOT
from pipeline.run.code_digest import module_path

_DIGEST = "code_digest"


def explain(store: Store, node: str, run: Run) -> dict:
    """Returns node, run, state, what it was compared with, reasons, and `because`: the same of each input's maker.

    Raises:
      InputError: no run has such a node.
    """
    nodes = dict.fromkeys([*NODES, *(execution.node for execution in store.executions.values())])
    if node not in nodes:
        raise InputError(f"node {node}: expected one of the pipeline ({', '.join(nodes)}).")
    return _explain(store, node, run, {found.id: found for found in store.runs()}, {node})


def _explain(store: Store, node: str, run: Run, runs: dict[str, Run], told: set[str]) -> dict:
    found = {"node": node, "run": run.id, "state": "skipped", "compared_with": None, "reasons": [], "because": []}
    executions = [execution for execution in store.executions_of(run) if execution.node == node]
    if not executions:
        found["reasons"] = [_why_skipped(store, run, node)]
        return found
    execution = executions[-1]
    found["state"] = state_told(execution, run)
    if execution.state == "cached":
        made = [store.producers.get(artifact) for _, artifact in store.outputs.get(execution.id, ())]
        source = store.executions.get(next((number for number in made if number), 0))
        origin = f"e{source.id} of run {source.run}" if source else "an earlier execution"
        found["compared_with"] = source.run if source else None
        if _is_whole(store, execution):
            found["reasons"] = [f"inputs, settings and code are those of {origin}"]
        else:
            found["reasons"] = [f"left out of this run, which took the outputs of {origin}"]
        return found
    previous = _previous(store, execution)
    if previous is None:
        name = run.properties.get("published_as") or execution.pipeline
        found["reasons"] = [f"no earlier run of it on {name} succeeded here"]
        return found
    found["compared_with"] = previous.run
    if is_resolver(execution):
        found["reasons"] = _resolver_reasons(store, previous, execution)
        return found
    changed = _changed_inputs(store, previous, execution)
    found["reasons"] = [text for text, _ in changed]
    found["reasons"] += property_changes(_properties(store, previous), _properties(store, execution))
    if _code_changed(store, previous, execution):
        found["reasons"] += code_changes(node, *(store.whole(runs[side.run]) for side in (previous, execution)))
    if not found["reasons"]:
        found["reasons"] = [_without_difference(store, previous, run)]
    for maker in dict.fromkeys(maker for _, maker in changed if maker):
        # Many paths lead to what is made first: told once, it is told.
        if maker not in told:
            told.add(maker)
            found["because"].append(_explain(store, maker, run, runs, told))
    return found


def _properties(store: Store, execution: Execution) -> dict:
    """Returns the settings of an execution; a cached one has those of a driver from what made its outputs."""
    found = store.properties("Execution", execution.id)
    if execution.state == "cached":
        made = (store.producers.get(artifact) for _, artifact in store.outputs.get(execution.id, ()))
        source = next((number for number in made if number), None)
        found = {**(store.properties("Execution", source) if source else {}), **found}
    return found


def _previous(store: Store, execution: Execution) -> Execution | None:
    """Returns the latest earlier success of the node that knows its inputs and settings."""
    for other in reversed(store.executions.values()):
        same = other.id < execution.id and (other.node, other.pipeline) == (execution.node, execution.pipeline)
        if same and other.state in ("ran", "cached") and _is_whole(store, other):
            return other
    return None


def _is_whole(store: Store, execution: Execution) -> bool:
    """Whether an execution knows what it was made of: what a partial run took over has outputs alone."""
    return bool(
        execution.state == "ran" or store.inputs.get(execution.id) or store.properties("Execution", execution.id)
    )


def _why_skipped(store: Store, run: Run, node: str) -> str:
    listed = {entry["id"] for entry in run.record.get("nodes", ())}
    if node in NODES and NODES[node].flag and node not in listed:
        return f"not asked for: {NODES[node].flag} does"
    ended = {e.state: e.node for e in reversed(store.executions_of(run)) if e.state in ("failed", "interrupted")}
    command = " ".join(run.properties.get("command", []))
    for state, node in ended.items():
        return f"not reached: {node} {'was ' if state == 'interrupted' else ''}{state}"
    if any(flag in command for flag in ("--from", "--to", "--only")):
        return f"left out: {command}"
    return "not reached"


def _changed_inputs(store: Store, previous: Execution, execution: Execution) -> list[tuple[str, str | None]]:
    """Returns, for each input that is another artifact, a line and the node that made it in this run, if one did."""
    sides = []
    for number in (previous.id, execution.id):
        side: dict[str, list[int]] = {}
        for key, artifact in store.inputs.get(number, ()):
            side.setdefault(key, []).append(artifact)
        sides.append(side)
    found = []
    for key in sorted(sides[0].keys() | sides[1].keys()):
        before, after = (sorted(side.get(key, [])) for side in sides)
        if before == after:
            continue
        makers = [store.executions[store.producers[artifact]] for artifact in after if artifact in store.producers]
        maker = next((made.node for made in makers if made.run == execution.run), None)
        other = next((f", made by {made.node} in run {made.run}" for made in makers if made.run != "?"), "")
        names = [", ".join(f"a{number}" for number in numbers) or "none" for numbers in (before, after)]
        found.append(
            (f"input {key}: {names[0]} -> {names[1]}" + (f", made by {maker} in this run" if maker else other), maker)
        )
    return found


def property_changes(before: dict, after: dict) -> list[str]:
    """Returns a line for each setting that differs; settings kept as JSON are compared inside."""
    sides = [{name: _parsed(value) for name, value in side.items()} for side in (before, after)]
    lines = []
    for name, old, new in changes(*sides):
        if name.rsplit(".", 1)[-1] == _DIGEST:
            continue
        if isinstance(old, dict | list) or isinstance(new, dict | list):
            told = f"{name} is new: {brief(new)}" if old is None else f"{name} is gone: {brief(old)}"
        else:
            told = f"{name}: {shorten(old, 50)} -> {shorten(new, 50)}"
        lines.append(f"setting {told}")
    return lines


def _parsed(value: object) -> object:
    """Takes JSON apart, also where it is a text within JSON, as TFX keeps the settings of a metric."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return _parsed(json.loads(value))
        except ValueError:
            return value
    if isinstance(value, dict):
        return {name: _parsed(item) for name, item in value.items()}
    return [_parsed(item) for item in value] if isinstance(value, list) else value


def _code_changed(store: Store, previous: Execution, execution: Execution) -> bool:
    digests = [store.properties("Execution", number).get(_DIGEST) for number in (previous.id, execution.id)]
    return digests[0] != digests[1]


def code_changes(node: str, before: Run, after: Run) -> list[str]:
    """Returns a line for each module of a node and each package that differs between two runs."""
    sides = [run.properties.get("code") for run in (before, after)]
    if None in sides:
        return ["code: changed; one of the two runs kept no record of its modules"]
    modules = set().union(*(side["nodes"].get(node, []) for side in sides))
    lines = []
    for module in sorted(modules):
        digests = [side["modules"].get(module) for side in sides if module in side["nodes"].get(node, [])]
        found = module_path(module)
        path = found.relative_to(ROOT).as_posix() if found else module.replace(".", "/") + ".py"
        if len(digests) < 2:
            lines.append(
                f"code: {path} {'is' if module in sides[1]['nodes'].get(node, []) else 'is no longer'} imported"
            )
        elif digests[0] != digests[1]:
            lines.append(f"code: {path} changed")
    packages = [run.properties.get("packages", {}) for run in (before, after)]
    for name in sorted(set().union(*(side.get("libraries", {}).get(node, []) for side in sides))):
        versions = [side.get(name, "none") for side in packages]
        if versions[0] != versions[1]:
            lines.append(f"package {name}: {versions[0]} -> {versions[1]}")
    return lines or ["code: changed"]


def _without_difference(store: Store, previous: Execution, run: Run) -> str:
    if run.properties.get("settings", {}).get("enable_cache") is False:
        return "nothing changed; the cache was off (--no-cache)"
    for _, number in store.outputs.get(previous.id, ()):
        artifact = store.artifacts[number]
        if artifact.state == "deleted" or not Path(artifact.uri).exists():
            return f"nothing changed, but its earlier output a{number} is gone ({artifact.uri})"
    return "nothing that ML Metadata keeps of it changed"


def _resolver_reasons(store: Store, previous: Execution, execution: Execution) -> list[str]:
    """Returns a line for each key of which it chose others than before, as `resolved_as_before` compares; or one."""
    sides = [sorted(set(store.chosen(number))) for number in (previous.id, execution.id)]
    before, after = ({key: [f"a{n}" for k, n in side if k == key] for key, _ in side} for side in sides)
    keys = sorted(before.keys() | after.keys())
    changed = [key for key in keys if before.get(key) != after.get(key)]
    told = changed or keys
    if {"subject", "examples"} & {*told}:
        # It is of these; alone it says which earlier spans the gate compares with.
        told = [key for key in told if key != "blessing"]
    if not changed:
        return [f"chose {', '.join(_named(key, after) for key in told) or 'none'}, as before"]
    return [f"chose {_named(key, after)}, before {', '.join(before.get(key, [])) or 'none'}" for key in told]


def _named(key: str, chosen: dict[str, list[str]]) -> str:
    """Returns what was chosen under a key; the one thing that a resolver is about needs no name."""
    if key == "subject":
        return ", ".join(chosen.get(key, [])) or "none"
    return f"{key} {', '.join(chosen[key])}" if key in chosen else f"no {key}"


def render(found: dict, depth: int = 0) -> str:
    """Returns the explanation as lines, that of an input's maker further in."""
    indent = "  " * depth
    compared = f" (compared with run {found['compared_with']})" if found["compared_with"] else ""
    lines = [f"{indent}{found['node']} {found['state']} in run {found['run']}{compared}"]
    lines += [f"{indent}  {reason}" for reason in found["reasons"]]
    lines += [render(deeper, depth + 1) for deeper in found["because"]]
    return "\n".join(lines)
