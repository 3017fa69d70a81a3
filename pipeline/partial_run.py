"""Runs part of the DAG on the outputs of an earlier run, through TFX's partial runs.

TFX takes the outputs from the latest run alone, whatever that left undone. Here it is the latest run that has them all.

Synopsis:

    base = prepare(handle, pipeline, Selection(from_node="Trainer"), output_root)     # "20261123-200513-360"
    partial_run_utils.snapshot(handle, pipeline)        # publishes them as this run's own
"""

from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.portable import partial_run_utils
from tfx.orchestration.portable.mlmd import execution_lib
from tfx.proto.orchestration import pipeline_pb2

from components.errors import InputError
from pipeline.nodes import Selection

_SKIP = pipeline_pb2.NodeExecutionOptions.Skip
NEVER = _SKIP.NEVER


def prepare(
    handle: metadata.Metadata, pipeline: pipeline_pb2.Pipeline, selection: Selection, output_root: Path
) -> str | None:
    """Marks in `pipeline` what runs and what is taken from an earlier run.

    Returns:
      The id of that run, None where nothing is needed of one.

    Raises:
      InputError: no node lies between the ends of `selection`, or no run has the outputs that it needs.
    """
    partial_run_utils.mark_pipeline(
        pipeline,
        from_nodes=[selection.from_node] if selection.from_node else None,
        to_nodes=[selection.to_node] if selection.to_node else None,
    )
    nodes = [node.pipeline_node for node in pipeline.nodes]
    if all(is_skipped(node) for node in nodes):
        raise InputError(f"{selection}: no node lies between them. Swap them, or leave one out.")
    needed = [node.node_info.id for node in nodes if node.execution_options.skip.reuse_artifacts_mode == _SKIP.REQUIRED]
    if not needed:
        # Nothing that runs depends on what is left out, so nothing is published in its name.
        for node in nodes:
            if is_skipped(node):
                node.execution_options.skip.reuse_artifacts_mode = NEVER
            else:
                node.execution_options.run.perform_snapshot = False
        return None
    base = _latest_run_with(handle, pipeline.pipeline_info.id, needed)
    if base is None:
        raise InputError(
            f"{selection}: no earlier run in {output_root} has the outputs of {', '.join(needed)}. "
            "Run the whole pipeline first."
        )
    partial_run_utils.set_base_pipeline_run_strategy(pipeline.runtime_spec.snapshot_settings, base)
    return base


def is_skipped(node: pipeline_pb2.PipelineNode) -> bool:
    """Whether a node was marked as left out of a partial run."""
    return node.execution_options.HasField("skip")


def _latest_run_with(handle: metadata.Metadata, pipeline_name: str, needed: list[str]) -> str | None:
    """Returns the id of the latest run of the pipeline in which each node in `needed` made what is still there."""
    store = handle.store
    pipeline = store.get_context_by_type_and_name("pipeline", pipeline_name)
    if pipeline is None:
        return None
    kind = store.get_context_type("pipeline_run").id
    runs = [context for context in store.get_children_contexts_by_context(pipeline.id) if context.type_id == kind]
    owners = {}
    for node in needed:
        context = store.get_context_by_type_and_name("node", f"{pipeline_name}.{node}")
        if context is None:
            return None
        owners |= {execution.id: node for execution in store.get_executions_by_context(context.id)}
    for run in sorted(runs, key=lambda context: context.id, reverse=True):
        made = {
            owners[execution.id]
            for execution in store.get_executions_by_context(run.id)
            if execution.id in owners
            and execution_lib.is_execution_successful(execution)
            and _outputs_exist(handle, execution.id)
        }
        if made == set(needed):
            return run.name
    return None


def _outputs_exist(handle: metadata.Metadata, execution_id: int) -> bool:
    outputs = execution_lib.get_output_artifacts(handle, execution_id)
    return all(
        artifact.mlmd_artifact.state == metadata_store_pb2.Artifact.LIVE and Path(artifact.uri).exists()
        for artifacts in outputs.values()
        for artifact in artifacts
    )
