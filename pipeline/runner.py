"""Runs the DAG node by node, tells each, and stops at the first that fails.

TFX's LocalDagRunner goes on after a node whose inputs cannot be resolved and ends with status 0. This one is the same
runner with four differences: it looks each node up in ML Metadata after launching it, it reports, it keeps what the run
was made of, and it marks as failed what an earlier, killed run left RUNNING.
"""

import dataclasses
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import local_dag_runner, runner_utils
from tfx.orchestration.portable import launcher, partial_run_utils, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from components.errors import InputError
from pipeline import partial_run
from pipeline.details import describe
from pipeline.nodes import Selection
from pipeline.run_record import close_abandoned_records, close_record, open_record

_Execution = metadata_store_pb2.Execution
RESOLVER = "tfx.dsl.components.common.resolver.Resolver"
_STATES = {_Execution.COMPLETE: "ran", _Execution.CACHED: "cached"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeResult:
    """How a node ended.

    Attributes:
      id: the node's.
      state: "ran", "cached", "failed" or "skipped".
      seconds: wall time.
      execution_id: in ML Metadata; None where there is no execution.
      error: what it failed with, if it did.
      detail: what it made, in a few words, or which run made it.
    """

    id: str
    state: str
    seconds: float
    execution_id: int | None = None
    error: BaseException | None = None
    detail: str = ""


class NodeFailedError(RuntimeError):
    """A node ended in another state than COMPLETE or CACHED without raising an exception."""


class ReportingRunner(local_dag_runner.LocalDagRunner):
    """A LocalDagRunner that reports each node and checks its state.

    Attributes:
      results: of the nodes, in the order in which they ran; complete after `run`, even if a node failed.
    """

    def __init__(
        self,
        run_id: str,
        on_start: Callable[[str], None],
        on_end: Callable[[NodeResult], None],
        *,
        properties: dict | None = None,
        selection: Selection | None = None,
    ) -> None:
        """Prepares a run.

        Args:
          run_id: its name in ML Metadata.
          on_start, on_end: called before and after each node.
          properties: what the run is made of, kept with it in ML Metadata.
          selection: the part of the DAG to run, the whole of it by default.
        """
        super().__init__()
        self._run_id = run_id
        self._on_start, self._on_end = on_start, on_end
        self._properties, self._selection = properties or {}, selection or Selection()
        self._connection = None
        self.results: list[NodeResult] = []

    def run_with_ir(self, pipeline: pipeline_pb2.Pipeline, run_options: object = None) -> None:
        """Runs the nodes in topological order; after a failure the rest is skipped.

        Raises:
          InputError: the database is none, or no earlier run has what a part of the DAG needs; nothing was run.
        """
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run_id}
        )
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        connection = connection_of(deployment)
        check_database(connection)
        _fail_abandoned_executions(connection)
        base = None
        with metadata.Metadata(connection) as handle:
            close_abandoned_records(handle)
            if self._selection:
                base = partial_run.prepare(
                    handle, pipeline, self._selection, Path(connection.sqlite.filename_uri).parent
                )
            open_record(handle, pipeline, self._properties | ({"base_run": base} if base else {}))
        self._connection = connection
        for node in (node.pipeline_node for node in pipeline.nodes):
            node_id = node.node_info.id
            if partial_run.is_skipped(node):
                reused = node.execution_options.skip.reuse_artifacts_mode != partial_run.NEVER
                detail = f"of run {base}" if reused else ""
                self._end(NodeResult(id=node_id, state="skipped", seconds=0.0, detail=detail))
            elif any(result.state == "failed" for result in self.results):
                self._end(NodeResult(id=node_id, state="skipped", seconds=0.0))
            else:
                self._on_start(node_id)
                self._end(_launch(pipeline, node, deployment, connection))

    def close(self, exit_status: int | None, properties: dict) -> None:
        """Keeps in ML Metadata how the run ended, if it began; an exit status of None is an interrupted one."""
        if self._connection is not None:
            with metadata.Metadata(self._connection) as handle:
                close_record(handle, self._run_id, exit_status, properties)

    def _end(self, result: NodeResult) -> None:
        self.results.append(result)
        self._on_end(result)


def _launch(pipeline: pipeline_pb2.Pipeline, node: pipeline_pb2.PipelineNode, deployment, connection) -> NodeResult:
    """Launches a node and looks up how it ended."""
    node_id = node.node_info.id
    started = time.monotonic()
    execution_id, error, detail = None, None, ""
    try:
        if node.execution_options.run.perform_snapshot:
            with metadata.Metadata(connection) as handle:
                partial_run_utils.snapshot(handle, pipeline)
        info = launcher.Launcher(
            pipeline_node=node,
            mlmd_connection=metadata.Metadata(connection),
            pipeline_info=pipeline.pipeline_info,
            pipeline_runtime_spec=pipeline.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(deployment, node_id),
            custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node_id),
        ).launch()
        execution_id = info.execution_id
        state, error = _node_state(connection, node_id, execution_id)
        if state != "failed":
            detail = describe(node_id, _outputs(connection, execution_id))
    except Exception as raised:  # whatever a component raises, the run has to end in order
        state, error = "failed", raised
    seconds = time.monotonic() - started
    return NodeResult(id=node_id, state=state, seconds=seconds, execution_id=execution_id, error=error, detail=detail)


def _outputs(connection, execution_id: int) -> dict[str, dict[str, object]]:
    """Returns the custom properties and the id of what an execution put out, or a resolver chose, by key."""
    with metadata.Metadata(connection) as handle:
        keys = {
            event.artifact_id: event.path.steps[0].key
            for event in handle.store.get_events_by_execution_ids([execution_id])
            if event.type in (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.INTERNAL_OUTPUT)
        }
        return {
            keys[artifact.id]: {"id": artifact.id}
            | {name: getattr(value, value.WhichOneof("value")) for name, value in artifact.custom_properties.items()}
            for artifact in handle.store.get_artifacts_by_id(list(keys))
        }


def connection_of(deployment) -> metadata_store_pb2.ConnectionConfig:
    """Returns how the pipeline's database is reached."""
    settings = deployment.metadata_connection_config
    return getattr(settings, settings.WhichOneof("connection_config"))


def _node_state(connection, node_id: str, execution_id: int | None) -> tuple[str, NodeFailedError | None]:
    """Looks up in ML Metadata how an execution ended."""
    execution = None
    if execution_id is not None:
        with metadata.Metadata(connection) as handle:
            (execution,) = handle.store.get_executions_by_id([execution_id])
            (kind,) = handle.store.get_execution_types_by_id([execution.type_id])
            as_before = kind.name == RESOLVER and resolved_as_before(handle, execution)
        if execution.last_known_state in _STATES:
            return "cached" if as_before else _STATES[execution.last_known_state], None
    found = "no execution" if execution is None else _Execution.State.Name(execution.last_known_state)
    return "failed", NodeFailedError(
        f"{node_id}: expected state COMPLETE or CACHED in ML Metadata, found {found}; its inputs could not be resolved."
    )


def resolved_as_before(handle, execution) -> bool:
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
        chosen[event.execution_id].add((event.path.steps[0].key, event.artifact_id))
    return chosen[execution.id] == chosen[max(earlier)]


def check_database(connection) -> None:
    """Opens the database once; it is made where there is none."""
    try:
        with metadata.Metadata(connection):
            pass
    except RuntimeError as error:
        raise InputError(
            f"{connection.sqlite.filename_uri}: expected a database of ML Metadata, found something else "
            f"({str(error).splitlines()[0]}). Move it away, or choose another --output-root."
        ) from error


def _fail_abandoned_executions(connection) -> None:
    """Marks what a killed run left RUNNING as failed and removes its half-written outputs.

    The caller holds the lock of the output root, so no other run can own these.
    """
    with metadata.Metadata(connection) as handle:
        abandoned = [
            execution
            for execution in handle.store.get_executions()
            if execution.last_known_state in (_Execution.NEW, _Execution.RUNNING)
        ]
        for execution in abandoned:
            execution.last_known_state = _Execution.FAILED
        if not abandoned:
            return
        handle.store.put_executions(abandoned)
        published = {
            event.execution_id
            for event in handle.store.get_events_by_execution_ids([e.id for e in abandoned])
            if event.type == metadata_store_pb2.Event.OUTPUT
        }
        root = Path(connection.sqlite.filename_uri).parent / "artifacts"
        for execution in abandoned:
            if execution.id in published:
                continue
            for folder in root.glob(f"*/*/{execution.id}"):
                shutil.rmtree(folder, ignore_errors=True)
            for folder in root.glob(f"*/.system/executor_execution/{execution.id}"):
                shutil.rmtree(folder, ignore_errors=True)
