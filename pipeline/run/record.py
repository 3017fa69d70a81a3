"""The record of a run: what it was made of, what each node did, how it ended; the one source of all that is told of it.

It is written as each node starts and at the end, to ML Metadata (custom properties of the run's context, for
`python -m pipeline.metadata` and the report) and as summary.json beside the log (for scripts; docs/summary.md describes
the keys). Both hold the same, from the same dictionary, so that a run killed at any moment is told as it was.

Synopsis:

    record = RunRecord(root.make_run(run_id), connection, opening(run_id, settings, dataset, provenance))
    with metadata.Metadata(connection) as handle:
        record.open(handle, pipeline, base_run=None)      # pipeline: as compiled
    record.start("ExampleGen")
    record.end("ExampleGen", state="ran", seconds=1.6, outputs=outputs)
    record.close(exit_status=0)
"""

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Mapping

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.portable.mlmd import context_lib
from tfx.proto.orchestration import pipeline_pb2

from components.errors import DataRefused, ModelRefused
from components.example_gen.dataset import Dataset
from components.latest_blessed import CANDIDATE
from components.logged import LOGGED
from models.files import write_text
from models.host import peak_memory_bytes
from pipeline.metadata.labels import NOTE, TAGS
from pipeline.metadata.store import KEPT_BY
from pipeline.nodes import NODES, Outputs, best_trial
from pipeline.output_root import RunFolder
from pipeline.run.data import model_name
from pipeline.run.listed import LISTED, listed
from pipeline.run.outcome import (
    INTERRUPTED,
    NODE_CACHED,
    NODE_FAILED,
    NODE_RAN,
    NODE_SKIPPED,
    PASSED,
    REFUSED,
    RUNNING,
    WAITING,
    describe_failure,
    state_of,
)
from pipeline.run.provenance import environment
from pipeline.settings import Settings

_RUN = "pipeline_run"
# Of a person, who may change them while the run goes on: written once, and read again each time.
_LABELS = (NOTE, TAGS)
# Kept as properties of their own, so that a list of runs reads no more than it shows.
_INDEX = (
    "preset",
    "seed",
    "name",
    "published_as",
    "span",
    "window",
    "base_run",
    "state",
    "exit_status",
    "wall_seconds",
    "blessed",
    "model_digest",
    "push",
    "pushed_model",
    "failure",
)
_EMPTY = {
    "state": RUNNING,
    "exit_status": None,
    "base_run": None,
    "failure": None,
    "metrics": None,
    "blessed": None,
    "blessing_reasons": [],
    "verdict": None,
    "served": None,
    "model_digest": None,
    "push": None,
    "pushed_model": None,
    "served_model": None,
    "search": None,
    "training": None,
    "profile": None,
    "tensorboard": None,
    "data": {"digest": None, "splits": None, "labels": None, "pixels": None},
    "window": None,
    "disk_bytes": None,
    "gates": {},
    "logged": {},
}


def opening(run_id: str, settings: Settings, dataset: Dataset, provenance: dict) -> dict:
    """Returns what is known of a run before its first node."""
    config = settings.config
    return {
        "run_id": run_id,
        "preset": config.preset,
        "seed": config.seed,
        "name": dataset.name,
        "span": dataclasses.asdict(dataset.span) if dataset.span else None,
        "published_as": model_name(config, dataset),
        "environment": environment(),
        "provenance": provenance,
    }


progress = logging.getLogger("progress")


class RunRecord:
    """What is known of a run so far.

    Attributes:
      content: as summary.json holds it.
      connection: how ML Metadata is reached.
    """

    def __init__(
        self,
        folder: RunFolder,
        connection,
        opening: dict,
        *,
        keepers: Mapping[str, str] | None = None,
        started: float | None = None,
    ) -> None:
        """Prepares a record; nothing is written yet.

        Args:
          folder: of the run.
          connection: how ML Metadata is reached.
          opening: what is known before the first node: run_id, preset, seed, name, environment, provenance.
          keepers: which runs keep some of its provenance, as `Store.keepers` gives them.
          started: `time.monotonic()` at the start of the process, for the whole time.
        """
        self._folder, self.connection = folder, connection
        self._shared = {name: {KEPT_BY: keeper} for name, keeper in (keepers or {}).items()}
        self._started = time.monotonic() if started is None else started
        self._is_open = False
        empty = json.loads(json.dumps(_EMPTY))
        self.content = {
            "note": None,
            "tags": [],
            **opening,
            "wall_seconds": 0.0,
            "peak_rss_mib": 0,
            "nodes": [],
            **empty,
        }

    def open(self, handle: metadata.Metadata, pipeline: pipeline_pb2.Pipeline, base_run: str | None) -> None:
        """Makes the context of the run, as TFX would at its first node, and lists the nodes as waiting."""
        context_lib.prepare_contexts(handle, pipeline.nodes[0].pipeline_node.contexts)
        self.content["base_run"] = base_run
        self.content["nodes"] = [
            {
                "id": node.pipeline_node.node_info.id,
                "state": WAITING,
                "seconds": 0.0,
                "detail": "",
                "after": sorted(node.pipeline_node.upstream_nodes),
                "reads": sorted(
                    {
                        channel.producer_node_query.id
                        for given in node.pipeline_node.inputs.inputs.values()
                        for channel in given.channels
                    }
                    & set(node.pipeline_node.upstream_nodes)
                ),
                "made": {},
            }
            for node in pipeline.nodes
        ]
        self._is_open = True
        self._write(handle, labels={name: self.content[name] for name in _LABELS if self.content[name]})

    def node(self, node_id: str) -> dict:
        """Returns the entry of a node: id, state, seconds, detail, the nodes that it comes after, and what it made."""
        return next(entry for entry in self.content["nodes"] if entry["id"] == node_id)

    def start(self, node_id: str) -> None:
        """Notes that a node runs, and writes what is known by now."""
        self.node(node_id)["state"] = RUNNING
        with metadata.Metadata(self.connection) as handle:
            self._write(handle)

    def end(
        self,
        node_id: str,
        *,
        state: str,
        seconds: float,
        outputs: Outputs | None = None,
        error: BaseException | None = None,
        detail: str = "",
    ) -> dict:
        """Notes how a node ended, writes it, and returns its entry.

        Args:
          node_id: of the node.
          state: "ran", "cached", "failed" or "skipped".
          seconds: wall time.
          outputs: custom properties, `id` and `uri` of what it put out, by key.
          error: what it failed with.
          detail: what to say of it in the place of what it made.
        """
        entry, node = self.node(node_id), NODES.get(node_id)
        entry |= {"state": state, "seconds": round(seconds, 2), "detail": detail}
        if state in (NODE_RAN, NODE_CACHED) and outputs is not None:
            # What a resolver was asked about it did not choose.
            entry["made"] = {key: found["id"] for key, found in outputs.items() if key != CANDIDATE}
            self._note_logged(node_id, outputs)
            if node is not None:
                self._note_outputs(entry, node, outputs)
        if error is not None:
            self._note_failure(node_id, node, error)
        # What took no time is written with the start of the next.
        if self._is_open and state in (NODE_RAN, NODE_FAILED):
            with metadata.Metadata(self.connection) as handle:
                self._write(handle)
        return entry

    def _note_outputs(self, entry: dict, node, outputs: Outputs) -> None:
        entry["detail"] = _asked(node.detail, outputs, "")
        facts = _asked(node.facts, outputs, {})
        # Of the data each of two nodes tells a part.
        self.content |= facts | {"data": self.content["data"] | facts.get("data", {})}
        if node.gate:
            passes, reasons = _asked(node.gate.passes, outputs, None), _asked(node.gate.reasons, outputs, [])
            if passes is not None:
                self.content["gates"][node.id] = {"result": PASSED if passes else REFUSED, "reasons": reasons}

    def _note_failure(self, node_id: str, node, error: BaseException) -> None:
        message, status = describe_failure(error)
        self.content["failure"] = {"node": node_id, "message": message, "exit_status": status}
        if isinstance(error, ModelRefused):
            self.content |= {"blessed": False, "blessing_reasons": [message]}
        if node is not None and node.gate:
            # A shard that is damaged is no answer to what another gate asks.
            kind = DataRefused if node_id == "DataGate" else ModelRefused
            result = REFUSED if isinstance(error, kind) else NODE_FAILED
            self.content["gates"][node_id] = {"result": result, "reasons": message.splitlines()}

    def _note_logged(self, node_id: str, outputs: Outputs) -> None:
        logged = {key: json.loads(found[LOGGED]) for key, found in outputs.items() if LOGGED in found}
        if logged:
            self.content["logged"][node_id] = logged

    def close(self, exit_status: int | None) -> None:
        """Notes how the run ended, and writes it; an interrupted one has no exit status."""
        if self._is_open:
            with metadata.Metadata(self.connection) as handle:
                self.close_with(handle, exit_status)

    def close_with(self, handle: metadata.Metadata, exit_status: int | None, *, seconds: float | None = None) -> None:
        """As `close`, within a connection; of another process's run `seconds` are its time, and its memory stays."""
        for entry in self.content["nodes"]:
            if entry["state"] == RUNNING:
                entry["state"] = NODE_FAILED if self.content["failure"] else INTERRUPTED
            elif entry["state"] == WAITING:
                entry["state"] = NODE_SKIPPED
        self.content["exit_status"] = exit_status
        self.content["state"] = state_of(self.content)
        self._write(handle, seconds)

    def note_disk(self, count: int) -> None:
        """Notes how many bytes the output root has when a run is over; its time stays."""
        self.content["disk_bytes"] = count
        with metadata.Metadata(self.connection) as handle:
            self._write(handle, self.content["wall_seconds"])

    def _write(self, handle: metadata.Metadata, seconds: float | None = None, labels: dict | None = None) -> None:
        """Writes what is known; note and tags only at first (`labels`), for from then on a person may change them."""
        own = seconds is None
        self.content["wall_seconds"] = round(time.monotonic() - self._started if own else seconds, 2)
        if own:
            self.content["peak_rss_mib"] = round(peak_memory_bytes() / 2**20)
        run = handle.store.get_context_by_type_and_name(_RUN, self.content["run_id"])
        if labels is None:
            said = run.custom_properties
            self.content["note"] = (said["note"].string_value if "note" in said else "") or None
            self.content["tags"] = json.loads(said["tags"].string_value) if "tags" in said else []
        changed = {**properties_of(self.content), **self._shared, **(labels or {})}
        for name, value in changed.items():
            set_property(run.custom_properties[name], value)
        # Masked: `pipeline.metadata tag` may write others between the two calls.
        handle.store.put_contexts([run], [f"custom_properties.{name}" for name in changed])
        try:
            write_text(self._folder.summary, json.dumps(self.content, indent=2) + "\n")
        except OSError as error:
            # ML Metadata has it, and a full disk must not hide what the run has to say.
            progress.warning("%s: cannot be written (%s)", self._folder.summary, error.strerror)


def _asked(tell: Callable[[Outputs], object], outputs: Outputs, otherwise: object) -> object:
    """Returns what a node tells of its outputs; an artifact from the cache may be older than what is asked of it."""
    try:
        return tell(outputs)
    except (AttributeError, KeyError, TypeError, ValueError):
        logging.exception("what a node made cannot be told")
        return otherwise


def properties_of(content: dict) -> dict:
    """Returns the custom properties under which a record is kept; `Store.record` puts it together again."""
    metrics = content["metrics"] or {}
    index = {name: content.get(name) for name in _INDEX} | {
        name: metrics.get(name) for name in ("test_accuracy", "test_loss")
    }
    if gate := content["gates"].get("DataGate"):
        index["data_gate"] = gate["result"]
    if trials := (content.get("search") or {}).get("trials"):
        index |= {"trials": len(trials), "best_trial": best_trial(trials)["val_accuracy"]}
    summary = {name: value for name, value in content.items() if name not in ("provenance", *_LABELS)}
    known = {name: value for name, value in index.items() if value is not None}
    return {**content["provenance"], **known, LISTED: json.dumps(listed(content)), "summary": json.dumps(summary)}


def outputs_of(handle: metadata.Metadata, execution_id: int) -> Outputs:
    """Returns custom properties, id and uri of what an execution put out, or a resolver chose, by key."""
    keys = {
        event.artifact_id: event.path.steps[0].key
        for event in handle.store.get_events_by_execution_ids([execution_id])
        if event.type in (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.INTERNAL_OUTPUT)
    }
    return {
        keys[artifact.id]: {"id": artifact.id, "uri": artifact.uri}
        | {name: getattr(value, value.WhichOneof("value")) for name, value in artifact.custom_properties.items()}
        for artifact in handle.store.get_artifacts_by_id(list(keys))
    }


def set_property(field: metadata_store_pb2.Value, value: object) -> None:
    """Puts a value into a property of ML Metadata; dictionaries and lists as JSON."""
    if isinstance(value, bool | int):
        field.int_value = int(value)
    elif isinstance(value, float):
        field.double_value = value
    else:
        field.string_value = value if isinstance(value, str) else json.dumps(value)
