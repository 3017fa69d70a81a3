"""Runs part of the DAG on the outputs of an earlier run, through TFX's partial runs.

TFX takes the outputs from the latest run alone, whatever that left undone, and whatever it was run with. Here it is the
latest run that has them all, and settings and data are that run's: what is given beside them may only concern nodes
that run again.

Synopsis:

    base = find_base(settings, Selection(from_node="Trainer"), root)
    base.run_id, base.settings.config.preset         # "20261123-200513-360", "smoke"
    mark(pipeline, base)                             # what runs, and what is taken from that run
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from tfx.dsl.compiler import compiler
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import partial_run_utils
from tfx.proto.orchestration import pipeline_pb2

from components.errors import InputError
from components.example_gen.dataset import Dataset, inspect_dataset
from components.example_gen.spans import SpanPattern
from pipeline.metadata.store import Run, Store
from pipeline.nodes import NODES, Selection
from pipeline.output_root import OutputRoot
from pipeline.pipeline import create_pipeline
from pipeline.run.data import image_settings, name_spans, recall_dataset
from pipeline.settings import Settings

RESOLVER = "tfx.dsl.components.common.resolver.Resolver"
_SKIP = pipeline_pb2.NodeExecutionOptions.Skip
NEVER = _SKIP.NEVER
_KEPT = {field.name for field in dataclasses.fields(Dataset)} - {"contents"}
# The shape of the DAG is the same for all data.
ANY_DATA = Dataset(
    name="any",
    folder=Path(),
    kind="",
    contents=None,
    counts={},
    image_shape=(1, 1),
    image_fit="pad",
    broken=0,
    class_names=("0", "1"),
    class_values=(0, 1),
    class_counts=(1, 1),
    digest="",
    is_fashion_mnist=False,
    schema="",
    floors={},
    notes=(),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base:
    """What a part of the DAG is run on.

    Attributes:
      selection: the part.
      run_id: of the run whose outputs it takes; None where it needs none.
      settings: that run's, with what was given on top; None where it needs none.
      dataset: that run's.
    """

    selection: Selection
    run_id: str | None = None
    settings: Settings | None = None
    dataset: Dataset | None = None


def find_base(settings: Settings, selection: Selection, root: OutputRoot) -> Base:
    """Returns what a part of the DAG can be run on.

    Raises:
      InputError: no node lies between the ends of `selection`, no run has the outputs that it needs, or what was given
        contradicts a node that is not run again.
    """
    _, needed = _taken_and_needed(settings, selection)
    if not needed:
        return Base(selection=selection)
    pattern = SpanPattern.of(settings.config.data_dir) if "data_dir" in settings.given else None
    name = name_spans(settings.config, pattern, root) if pattern else None
    given_data = settings.config.data_dir if "data_dir" in settings.given and not pattern else None
    contradiction = None
    for run in _runs_with(root, needed):
        dataset = recall_dataset(run.properties["data"])
        base = Base(
            selection=selection,
            run_id=run.id,
            settings=_on_spans(settings, dataset).on_top_of(run.properties["settings"], run.id),
            dataset=dataset,
        )
        # That run may have had a node more.
        taken, _ = _taken_and_needed(base.settings, selection)
        # What the images become is that run's to say, unless it is given.
        data = inspect_dataset(given_data, image_settings(base.settings.config)) if given_data else None
        found = next(_contradictions(settings, data, base, run, taken), None)
        if pattern and (dataset.span is None or dataset.name != name):
            found = _of_other_data(settings, base)
        if found is None:
            return base
        contradiction = contradiction or found
    raise InputError(
        contradiction
        or f"{selection}: no earlier run in {root} has the outputs of {', '.join(needed)}. "
        "Run the whole pipeline first."
    )


def _on_spans(settings: Settings, dataset: Dataset) -> Settings:
    """Returns the settings with the pattern of the spans that an earlier run's data are of: it is part of the DAG."""
    if dataset.span is None:
        return settings
    return dataclasses.replace(
        settings, config=dataclasses.replace(settings.config, data_dir=Path(dataset.span.pattern))
    )


def _taken_and_needed(settings: Settings, selection: Selection) -> tuple[list[str], list[str]]:
    """Returns the nodes whose outputs a part of the DAG takes over, and those of them that it cannot do without.

    Raises:
      InputError: no node lies between its ends, or one of them is not asked for.
    """
    for end in (selection.from_node, selection.to_node):
        if end is not None and not NODES[end].asked(settings.config):
            raise InputError(f"{selection}: nothing asks for a {end}. Give {NODES[end].flag} as well.")
    pipeline = compiler.Compiler().compile(create_pipeline(settings.config, ANY_DATA))
    _mark(pipeline, selection)
    nodes = [node.pipeline_node for node in pipeline.nodes]
    if all(is_skipped(node) for node in nodes):
        raise InputError(f"{selection}: no node lies between them. Swap them, or leave one out.")
    taken = [node.node_info.id for node in nodes if _mode(node) not in (None, NEVER)]
    return taken, [node.node_info.id for node in nodes if _mode(node) == _SKIP.REQUIRED]


def mark(pipeline: pipeline_pb2.Pipeline, base: Base) -> None:
    """Marks in a compiled pipeline what runs and what is taken from the earlier run."""
    _mark(pipeline, base.selection)
    if base.run_id is not None:
        partial_run_utils.set_base_pipeline_run_strategy(pipeline.runtime_spec.snapshot_settings, base.run_id)
        return
    # Nothing that runs depends on what is left out, so nothing is published in its name.
    for node in (node.pipeline_node for node in pipeline.nodes):
        if is_skipped(node):
            node.execution_options.skip.reuse_artifacts_mode = NEVER
        else:
            node.execution_options.run.perform_snapshot = False


def is_skipped(node: pipeline_pb2.PipelineNode) -> bool:
    """Whether a node was marked as left out of a partial run."""
    return node.execution_options.HasField("skip")


def _mark(pipeline: pipeline_pb2.Pipeline, selection: Selection) -> None:
    nodes = {node.pipeline_node.node_info.id: node.pipeline_node for node in pipeline.nodes}
    first = [NODES[selection.from_node].begins or selection.from_node] if selection.from_node else None
    if first:
        running = set(first)
        # In the order of the DAG, so that what comes before a node is known.
        for name, node in nodes.items():
            if running & set(node.upstream_nodes):
                running.add(name)
        # What a candidate is compared with is asked anew: since that run another model may have been published.
        first += [
            name
            for name, node in nodes.items()
            if name not in running and node.node_info.type.name == RESOLVER and running & set(node.downstream_nodes)
        ]
    partial_run_utils.mark_pipeline(
        pipeline, from_nodes=first, to_nodes=[selection.to_node] if selection.to_node else None
    )


def _mode(node: pipeline_pb2.PipelineNode) -> int | None:
    return node.execution_options.skip.reuse_artifacts_mode if is_skipped(node) else None


def _runs_with(root: OutputRoot, needed: list[str]) -> Iterator[Run]:
    """Yields the runs, the latest first, in which each node in `needed` made what is still there."""
    if not root.metadata.exists():
        return
    store = Store(root.metadata)
    for run in reversed(store.runs()):
        made = {
            execution.node
            for execution in store.executions_of(run)
            if execution.state in ("ran", "cached")
            and all(
                store.artifacts[number].state == "live" and Path(store.artifacts[number].uri).exists()
                for _, number in store.outputs.get(execution.id, ())
            )
        }
        # Another runner, or an older version of this project, kept less of a run than is needed to stand on it.
        if made >= set(needed) and run.properties.get("data", {}).keys() >= _KEPT:
            yield store.whole(run)


def _contradictions(settings: Settings, data: Dataset | None, base: Base, run: Run, taken: list[str]) -> Iterator[str]:
    """Yields a line for each thing that was given and that a node which is not run again did otherwise."""
    kept, config = run.properties["settings"], settings.config
    if base.settings.config.variant != kept.get("variant", ""):
        yield (
            f"{_asked_by(settings, 'variant')}: run {run.id}, which this stands on, is of the variant "
            f"'{kept.get('variant', '')}'. Leave it out, or run the whole pipeline."
        )
    if "name" in settings.given and config.name != base.dataset.name:
        yield (
            f"{settings.origins['name']}: run {run.id}, which this stands on, is of the data set {base.dataset.name}. "
            "Leave it out, or run the whole pipeline."
        )
    if data is not None and data.digest != base.dataset.digest:
        yield _of_other_data(settings, base)
    settings = _on_spans(settings, base.dataset)
    before = _parameters(
        create_pipeline(dataclasses.replace(settings, given={}).on_top_of(kept, run.id).config, base.dataset)
    )
    after = _parameters(create_pipeline(base.settings.config, base.dataset))
    if all(before[node] == after[node] for node in taken):
        return
    for name in settings.given:
        alone = _parameters(create_pipeline(settings.with_only(name).on_top_of(kept, run.id).config, base.dataset))
        for node in taken:
            if alone[node] != before[node]:
                yield (
                    f"{_asked_by(settings, name)}: {node} is not run again, and run {run.id}, which this stands on, "
                    f"has {name} {_recorded(kept, name)}. Leave it out, or begin with --from {node}."
                )


def _of_other_data(settings: Settings, base: Base) -> str:
    return (
        f"{settings.origins['data_dir']}: run {base.run_id}, which this stands on, read other data "
        f"({base.dataset.folder}), and ExampleGen is not run again. Leave it out, or run the whole pipeline."
    )


def _asked_by(settings: Settings, name: str) -> str:
    """Returns the origin of a setting; a preset that was named asks for its values, defaults among them."""
    origin = settings.origins[name]
    return f"preset {settings.config.preset}" if origin == "default" else origin


def _parameters(pipeline: Pipeline) -> dict[str, dict]:
    """Returns what the executions of each node would be given, apart from its inputs."""
    return {node.id: dict(node.exec_properties) for node in pipeline.components}


def _recorded(settings: dict, name: str) -> object:
    value: object = settings
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else value
    return value
