"""Runs the DAG node by node, notes each in the record of the run, and stops at the first that fails.

TFX's LocalDagRunner goes on after a node whose inputs cannot be resolved and ends with status 0. This one is the same
runner with three differences: it looks each node up in ML Metadata after launching it, it tells, and it keeps a record.
"""

import time
import traceback
from collections.abc import Callable

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import local_dag_runner, runner_utils
from tfx.orchestration.portable import launcher, partial_run_utils, runtime_parameter_utils
from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2

from components.latest_blessed import CANDIDATE
from pipeline.run import partial_run
from pipeline.run.outcome import NODE_CACHED, NODE_FAILED, NODE_RAN, NODE_SKIPPED
from pipeline.run.record import RunRecord, outputs_of
from pipeline.stopping import stopped

_Execution = metadata_store_pb2.Execution
_STATES = {_Execution.COMPLETE: NODE_RAN, _Execution.CACHED: NODE_CACHED}


class NodeFailedError(RuntimeError):
    """A node ended in another state than COMPLETE or CACHED without raising an exception."""


class ReportingRunner(local_dag_runner.LocalDagRunner):
    """A LocalDagRunner that keeps a record, tells each node and checks its state."""

    def __init__(
        self,
        record: RunRecord,
        on_start: Callable[[str], None],
        on_end: Callable[[dict], None],
        *,
        base: partial_run.Base | None = None,
    ) -> None:
        """Prepares a run.

        Args:
          record: of the run.
          on_start: called with the id of each node before it is launched.
          on_end: called with the record's entry of each node behind it.
          base: which part of the DAG to run, and on what; the whole of it by default.
        """
        super().__init__()
        self._record, self._base = record, base
        self._on_start, self._on_end = on_start, on_end

    def run_with_ir(self, pipeline: pipeline_pb2.Pipeline, run_options: object = None) -> None:
        """Runs the nodes in topological order; after a failure the rest is skipped."""
        run_id = self._record.content["run_id"]
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
        )
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        # That in the pipeline has no password.
        connection = self._record.connection
        with metadata.Metadata(connection) as handle:
            if self._base:
                partial_run.mark(pipeline, self._base)
            self._record.open(handle, pipeline, self._base.run_id if self._base else None)
        failed = False
        for node in (node.pipeline_node for node in pipeline.nodes):
            node_id = node.node_info.id
            if partial_run.is_skipped(node) or failed:
                reused = not failed and node.execution_options.skip.reuse_artifacts_mode != partial_run.NEVER
                detail = f"of run {self._base.run_id}" if reused else ""
                self._on_end(self._record.end(node_id, state=NODE_SKIPPED, seconds=0.0, detail=detail))
                continue
            self._on_start(node_id)
            self._record.start(node_id)
            entry = self._launch(pipeline, node, deployment, connection)
            failed = entry["state"] == NODE_FAILED
            self._on_end(entry)

    def _launch(self, pipeline: pipeline_pb2.Pipeline, node: pipeline_pb2.PipelineNode, deployment, connection) -> dict:
        """Launches a node, looks up how it ended and notes it."""
        node_id = node.node_info.id
        started = time.monotonic()
        outputs, error = None, None
        try:
            if node.execution_options.run.perform_snapshot:
                with metadata.Metadata(connection) as handle:
                    partial_run_utils.snapshot(handle, pipeline)
            execution_id = launcher_of(pipeline, node, deployment, connection).launch().execution_id
            with metadata.Metadata(connection) as handle:
                state, error = node_state(handle, node_id, execution_id)
                outputs = outputs_of(handle, execution_id) if error is None else None
        except Exception as raised:  # whatever a component raises, the run has to end in order
            state, error = NODE_FAILED, raised
        if (stop := stopped()) is not None:
            # However the node took it: it was not the node that failed.
            raise stop from error
        if error is not None:
            traceback.print_exception(error)
        return self._record.end(node_id, state=state, seconds=time.monotonic() - started, outputs=outputs, error=error)


def launcher_of(pipeline: pipeline_pb2.Pipeline, node, deployment, connection) -> launcher.Launcher:
    """Returns TFX's launcher of a node, for which what one engine has computed is cached for each."""
    node_id = node.node_info.id
    found = launcher.Launcher(
        pipeline_node=node,
        mlmd_connection=metadata.Metadata(connection),
        pipeline_info=pipeline.pipeline_info,
        pipeline_runtime_spec=pipeline.runtime_spec,
        executor_spec=runner_utils.extract_executor_spec(deployment, node_id),
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node_id),
    )
    if isinstance(found._executor_spec, executable_spec_pb2.BeamExecutableSpec):
        # The executor has taken its options; what is made of the spec from here on is the cache key, and where the work
        # runs is no part of what it makes.
        found._executor_spec = executable_spec_pb2.BeamExecutableSpec(
            python_executor_spec=found._executor_spec.python_executor_spec
        )
    return found


def node_state(handle: metadata.Metadata, node_id: str, execution_id: int | None) -> tuple[str, NodeFailedError | None]:
    """Looks up in ML Metadata how an execution ended."""
    execution = None
    if execution_id is not None:
        (execution,) = handle.store.get_executions_by_id([execution_id])
        (kind,) = handle.store.get_execution_types_by_id([execution.type_id])
        if execution.last_known_state in _STATES:
            as_before = kind.name == partial_run.RESOLVER and resolved_as_before(handle, execution)
            return NODE_CACHED if as_before else _STATES[execution.last_known_state], None
    found = "no execution" if execution is None else _Execution.State.Name(execution.last_known_state)
    return NODE_FAILED, NodeFailedError(
        f"{node_id}: expected state COMPLETE or CACHED in ML Metadata, found {found}; its inputs could not be resolved."
    )


def resolved_as_before(handle: metadata.Metadata, execution) -> bool:
    """Says whether a resolver chose what it chose the last time; it makes nothing itself, so nothing changed then."""
    (node,) = [
        context
        for context in handle.store.get_contexts_by_execution(execution.id)
        if handle.store.get_context_types_by_id([context.type_id])[0].name == "node"
    ]
    earlier = [other.id for other in handle.store.get_executions_by_context(node.id) if other.id < execution.id]
    if not earlier:
        return False
    chosen = {number: set() for number in (execution.id, max(earlier))}
    for event in handle.store.get_events_by_execution_ids(list(chosen)):
        if event.path.steps[0].key != CANDIDATE:
            chosen[event.execution_id].add((event.path.steps[0].key, event.artifact_id))
    return chosen[execution.id] == chosen[max(earlier)]
