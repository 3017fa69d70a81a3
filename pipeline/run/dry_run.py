"""Tells what a run would do, and why, without doing it.

TFX's own preparation of each node (resolve the inputs, look for the cache key) runs on a copy of the database, and with
an empty folder as the root of the outputs: what it registers and makes is gone at the end.

Synopsis:

    for forecast in foresee(settings, dataset, provenance):
        print(forecast.id, forecast.state, forecast.reason)
"""

import contextlib
import dataclasses
import sqlite3
import tempfile
from pathlib import Path

from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import partial_run_utils, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from components.example_gen.dataset import Dataset
from pipeline.metadata import why
from pipeline.metadata.connection import connect
from pipeline.metadata.excerpt import copy_own
from pipeline.metadata.library import connection_to
from pipeline.metadata.shared import membership
from pipeline.metadata.store import Store
from pipeline.output_root import OutputRoot
from pipeline.pipeline import create_pipeline
from pipeline.run import partial_run
from pipeline.run.abandoned import note_moved
from pipeline.run.database import check_database
from pipeline.run.record import RunRecord, opening
from pipeline.run.runner import launcher_of, resolved_as_before
from pipeline.settings import Settings

WOULD_RUN, CACHED, SKIPPED = "would run", "cached", "skipped"
_RUN = "dry-run"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forecast:
    """What would become of a node: "would run", "cached" or "skipped", and why."""

    id: str
    state: str
    reason: str


def foresee(
    settings: Settings, dataset: Dataset, provenance: dict, base: partial_run.Base | None = None
) -> list[Forecast]:
    """Returns a forecast for each node, in the order in which they would run; leaves everything as it is.

    Args:
      settings, dataset: of the run.
      provenance: what it would be made of.
      base: what part of the DAG would run, and on what.

    Raises:
      InputError: the database is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = OutputRoot(folder)
        source = OutputRoot(settings.config.output_root)
        _copy_database(source, root)
        moved = Store(source.metadata).moved if source.metadata.exists() else {}
        connection = connection_to(root)
        check_database(connection)
        pipeline = compiler.Compiler().compile(create_pipeline(settings.config, dataset))
        parameters = {constants.PIPELINE_RUN_ID_PARAMETER_NAME: _RUN}
        runtime_parameter_utils.substitute_runtime_parameter(pipeline, parameters)
        pipeline.runtime_spec.pipeline_root.field_value.string_value = str(root.artifacts)
        if base:
            partial_run.mark(pipeline, base)
        record = RunRecord(root.make_run(_RUN), connection, opening(_RUN, settings, dataset, provenance))
        with metadata.Metadata(connection) as handle:
            note_moved(handle, moved)
            record.open(handle, pipeline, base.run_id if base else None)
            if base and base.run_id:
                partial_run_utils.snapshot(handle, pipeline)
        found: dict[str, Forecast] = {}
        for node in (node.pipeline_node for node in pipeline.nodes):
            found[node.node_info.id] = _forecast(pipeline, node, connection, found, base)
        return _with_reasons(Store(root.metadata), list(found.values()))


def _forecast(pipeline: pipeline_pb2.Pipeline, node, connection, before: dict[str, Forecast], base) -> Forecast:
    node_id = node.node_info.id
    if partial_run.is_skipped(node):
        reused = node.execution_options.skip.reuse_artifacts_mode != partial_run.NEVER
        return Forecast(id=node_id, state=SKIPPED, reason=f"outputs of run {base.run_id}" if reused else "left out")
    producers = {channel.producer_node_query.id for given in node.inputs.inputs.values() for channel in given.channels}
    fresh = [name for name, forecast in before.items() if name in producers and forecast.state == WOULD_RUN]
    if fresh:
        plural = "inputs" if len(fresh) > 1 else "input"
        return Forecast(id=node_id, state=WOULD_RUN, reason=f"its {plural} from {', '.join(fresh)} would be new")
    deployment = runner_utils.extract_local_deployment_config(pipeline)
    prepared = launcher_of(pipeline, node, deployment, connection)
    if node.node_info.type.name == partial_run.RESOLVER:
        # A resolver does nothing but choose; on the copy it may.
        execution_id = prepared.launch().execution_id
        with metadata.Metadata(connection) as handle:
            (execution,) = handle.store.get_executions_by_id([execution_id])
            state = CACHED if resolved_as_before(handle, execution) else WOULD_RUN
        return Forecast(id=node_id, state=state, reason="")
    # All that TFX does before it runs an executor; there is no public name for it.
    needed = prepared._prepare_execution().is_execution_needed
    return Forecast(id=node_id, state=WOULD_RUN if needed else CACHED, reason="")


def _with_reasons(store: Store, forecasts: list[Forecast]) -> list[Forecast]:
    run = store.find_run(_RUN)
    return [
        forecast
        if forecast.reason
        else dataclasses.replace(forecast, reason="; ".join(why.explain(store, forecast.id, run)["reasons"]))
        for forecast in forecasts
    ]


def _copy_database(source: OutputRoot, target: OutputRoot) -> None:
    if (own := membership(source)) is not None:
        # Whose tables ML Metadata makes: the excerpt has none of the constraints that it counts on.
        check_database(connection_to(target))
        with contextlib.closing(sqlite3.connect(target.metadata)) as new:
            copy_own(own, new)
        return
    if source.metadata.exists():
        _copy_file(source.metadata, target.metadata)


def _copy_file(source: Path, target: Path) -> None:
    # Checked, and opened, as every reader does it: it may be half written.
    Store(source)
    with contextlib.closing(connect(source)) as old, contextlib.closing(sqlite3.connect(target)) as new:
        old.backup(new)
