"""Writes runs into ML Metadata as the pipeline records them, without running anything: for tests and benchmarks.

The graph is that of the compiled pipeline, and the records are made by the code that makes real ones.

Synopsis:

    runs = RecordedRuns(tmp_path / "output")
    runs.add("20260101-000000-000")                                   # everything ran
    runs.add("20260102-000000-000", changed="Trainer", settings={"seed": 7})     # the Trainer and what follows it
    runs.artifacts["20260102-000000-000"]["Exporter.model"]           # its id
"""

import contextlib
import copy
import dataclasses
import functools
import itertools
import json
import shutil
import sqlite3
from pathlib import Path

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx.dsl.compiler import compiler

from components.example_gen.spans import Span
from components.properties import EXAMPLES_ID, SPAN_NUMBER, SPAN_VERSION
from models.card import CARD_FILE
from models.config import TrainingConfig
from pipeline.config import PipelineConfig
from pipeline.output_root import OutputRoot
from pipeline.pipeline import create_pipeline
from pipeline.run.partial_run import ANY_DATA, RESOLVER
from pipeline.run.record import RunRecord, properties_of, set_property

PIPELINE = "fashion_mnist-28x28-10"
_STATE, _EVENT = mlmd.Execution, mlmd.Event
# The output of a resolver that is what it chose for.
_CANDIDATE = "candidate"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordedNode:
    """A node of the compiled pipeline.

    Attributes:
      id: in the DAG.
      kind: name of its execution's type.
      after: the nodes that it waits for.
      inputs: by key the output, NODE.KEY, that it reads; None for what a resolver looks up.
      outputs: by key the artifact's type.
    """

    id: str
    kind: str
    after: tuple[str, ...]
    inputs: dict[str, str | None]
    outputs: dict[str, str]

    @property
    def is_resolver(self) -> bool:
        """Whether it makes nothing and chooses."""
        return self.kind == RESOLVER


@functools.cache
def dag(*, in_spans: bool = False, warm_start: bool = False) -> dict[str, RecordedNode]:
    """Returns the nodes of the compiled pipeline, in the order in which they run."""
    config = PipelineConfig(
        data_dir=Path("in/span-{SPAN}") if in_spans else None, training=TrainingConfig(warm_start=warm_start)
    )
    compiled = compiler.Compiler().compile(create_pipeline(config, ANY_DATA))
    return {found.id: found for found in (_node(node.pipeline_node) for node in compiled.nodes)}


def _node(node) -> RecordedNode:
    inputs: dict[str, str | None] = {}
    for key, given in node.inputs.inputs.items():
        for channel in given.channels:
            producer = channel.producer_node_query.id
            inputs[key] = f"{producer}.{channel.output_key}" if producer else None
    kind = node.node_info.type.name
    outputs = {key: spec.artifact_spec.type.name for key, spec in sorted(node.outputs.outputs.items())}
    return RecordedNode(
        id=node.node_info.id,
        kind=kind,
        after=tuple(sorted(node.upstream_nodes)),
        inputs=dict(sorted(inputs.items())),
        outputs=outputs,
    )


class RecordedRuns:
    """A database of ML Metadata below an output root, to which runs are added.

    Attributes:
      store: ML Metadata's own interface to it.
      artifacts: by run and NODE.KEY the id of what the run made, took from the cache or, for a resolver, chose; of
        several the last.
      executions: by run and node the id of the execution.
    """

    def __init__(self, output_root: Path, *, in_spans: bool = False, warm_start: bool = False) -> None:
        """Makes the database.

        Args:
          output_root: that it lies below; made if need be.
          in_spans, warm_start: whether the runs have the nodes of these; with spans each new data set is one.
        """
        self.output_root, self._root = output_root, OutputRoot(output_root)
        self._nodes = dag(in_spans=in_spans, warm_start=warm_start)
        output_root.mkdir(parents=True, exist_ok=True)
        connection = mlmd.ConnectionConfig()
        connection.sqlite.filename_uri = str(self._root.metadata)
        connection.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self.store = metadata_store.MetadataStore(connection)
        self.artifacts: dict[str, dict[str, int]] = {}
        self.executions: dict[str, dict[str, int]] = {}
        self._latest: dict[str, int] = {}
        self._latest_chosen: dict[str, dict[str, list[int]]] = {}
        # What a resolver may choose, by its node.
        self._blessed: dict[str, list[int]] = {"BlessedModel": [], "AcceptedData": []}
        # Of each span that passed: its examples, statistics and blessing. Of each push: the model, by who made it.
        self._spans: list[dict[str, int]] = []
        self._pushed: list[dict[str, int]] = []
        self._types: dict[tuple[str, str], int] = {}
        self._contexts: dict[tuple[str, str], int] = {}
        self._properties: dict[int, dict] = {}
        self._versions = itertools.count(1_700_000_000)

    def add(
        self,
        run_id: str,
        *,
        changed: str = "",
        settings: dict | None = None,
        modules: dict[str, str] | None = None,
        packages: dict[str, str] | None = None,
        accuracy: float = 0.9,
        blessed: bool = True,
        failed: str = "",
        record: bool = True,
        span: int | None = None,
    ) -> None:
        """Adds a run.

        Args:
          run_id: its id.
          changed: the node whose settings or code changed; it and what follows it run, all else is cached. In the
            first run everything runs.
          settings: of the run and of each node that runs.
          modules: digest of each module; every node depends on all of them.
          packages: versions; every node depends on all of them.
          accuracy, blessed: what the Evaluator finds; without its blessing nothing is pushed.
          failed: the node that fails; those after it are not reached.
          span: number of the one that the data are, where the ExampleGen runs; None for data that come in none.
          record: whether the run keeps a record of itself; another runner of TFX's would keep none.
        """
        settings, modules = settings or {"seed": 1}, modules or {"models.networks.residual": "aa"}
        packages = packages or {"tfx": "1.21.0"}
        fresh = set(self._nodes) if not self._latest else {changed} - {""}
        run, made, chosen = self._context("pipeline_run", run_id), dict(self._latest), dict(self._latest_chosen)
        kept = self._opening(run_id, settings, modules, packages)
        if span is not None and "Spans" in self._nodes:
            kept.content["span"] = dataclasses.asdict(Span(name=str(span), number=span, pattern="in/span-{SPAN}"))
        self.executions[run_id] = {}
        for node in self._nodes.values():
            if any(source and source.split(".")[0] in fresh for source in node.inputs.values()):
                fresh.add(node.id)
            if node.is_resolver:
                fresh.discard(node.id)
                before, found = chosen.get(node.id, {}), self._choose(node, made)
                for key in before:
                    made.pop(f"{node.id}.{key}", None)
                made |= {f"{node.id}.{key}": numbers[-1] for key, numbers in found.items()}
                chosen[node.id], state = found, "COMPLETE"
                told = {**found, _CANDIDATE: [made[source] for source in node.inputs.values() if source]}
                events = [(key, number, _EVENT.INTERNAL_OUTPUT) for key, numbers in told.items() for number in numbers]
                if found != before:
                    fresh.add(node.id)
            else:
                state = "FAILED" if node.id == failed else "COMPLETE" if node.id in fresh else "CACHED"
                events = [
                    (key, number, _EVENT.INPUT)
                    for key, source in node.inputs.items()
                    for number in _read(source, made, chosen)
                ]
                if state == "COMPLETE":
                    made |= self._outputs(node, run_id, accuracy=accuracy, blessed=blessed, made=made, span=span)
                if state != "FAILED":
                    events += [(key, made[f"{node.id}.{key}"], _EVENT.OUTPUT) for key in node.outputs]
            contexts = [run, self._context("pipeline", PIPELINE), self._context("node", f"{PIPELINE}.{node.id}")]
            properties = {} if node.is_resolver else {"custom_config": settings, "code_digest": repr(modules)}
            self.executions[run_id][node.id] = self._execution(node, state, events, contexts, properties)
            self._note(kept, node, state, events)
            if state == "FAILED":
                break
            if node.id == "DataGate" and node.id in fresh:
                sources = ("ExampleGen.examples", "StatisticsGen.statistics", "DataGate.blessing")
                self._spans.append({source.split(".")[1]: made[source] for source in sources})
        self.artifacts[run_id] = made
        if not failed:
            self._latest, self._latest_chosen = made, chosen
            if blessed and "Pusher" in fresh:
                self._pushed.append({node: made[f"{node}.model"] for node in ("Trainer", "Exporter")})
            if blessed and "Evaluator" in fresh:
                self._blessed["BlessedModel"].append(made["Exporter.model"])
            if "DataGate" in fresh:
                self._blessed["AcceptedData"].append(made["StatisticsGen.statistics"])
        if record:
            kept.content["exit_status"] = 1 if failed else 0 if blessed else 4
            kept.content["state"] = "failed" if failed else "done" if blessed else "not blessed"
            context = mlmd.Context(id=run, type_id=self._type("context", "pipeline_run"), name=run_id)
            _set(context.custom_properties, properties_of(kept.content))
            self.store.put_contexts([context])

    def copy_to(self, output_root: Path) -> "RecordedRuns":
        """Returns the same runs below another output root, to be read or changed; adding runs there is not possible."""
        own = copy.copy(self)
        own.output_root, own._root = output_root, OutputRoot(output_root)
        shutil.copytree(self.output_root, output_root)
        with contextlib.closing(sqlite3.connect(own._root.metadata)) as connection:
            for table, column in (("Artifact", "uri"), ("ArtifactProperty", "string_value")):
                replaced = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
                connection.execute(replaced, (str(self.output_root), str(output_root)))
            connection.commit()
        return own

    def _choose(self, node: RecordedNode, made: dict[str, int]) -> dict[str, list[int]]:
        """Returns what a resolver chooses, by key: one other `subject`, or what its strategy looks for among spans."""
        # What it looks up has no producer.
        (source,) = filter(None, node.inputs.values())
        candidate = made.get(source)
        if node.id in self._blessed and not (node.id == "AcceptedData" and "Spans" in self._nodes):
            found = next((number for number in reversed(self._blessed[node.id]) if number != candidate), None)
            return {} if found is None else {"subject": [found]}
        pushed = self._pushed[-1] if self._pushed else {}
        if node.id == "Spans":
            found = {key: [span[key] for span in self._spans] for key in ("blessing", "examples", "statistics")}
        elif node.id == "WarmStart":
            found = {"model": [pushed[key] for key in ("Trainer",) if pushed]}
        else:
            earlier = [span["blessing"] for span in self._spans if span["examples"] != candidate]
            found = {"blessing": earlier, "model": [pushed[key] for key in ("Exporter",) if pushed]}
        return {key: numbers for key, numbers in found.items() if numbers}

    def _outputs(
        self, node: RecordedNode, run_id: str, *, accuracy: float, blessed: bool, made: dict, span: int | None
    ) -> dict[str, int]:
        version = next(self._versions)
        serving = self._root.serving("fashion_mnist") / str(version)
        # The Exporter's model is known by it, and what is published by the same.
        content = self._properties.get(made.get("Exporter.model", 0), {}).get("digest", "")
        content = f"content {version}" if node.id == "Exporter" else content
        found = {}
        for key, kind in node.outputs.items():
            folder = self._root.artifacts / node.id / key / str(version)
            folder.mkdir(parents=True)
            (folder / "content").write_bytes(b"0123456789")
            artifact = mlmd.Artifact(type_id=self._type("artifact", kind), uri=str(folder), state=mlmd.Artifact.LIVE)
            properties = _properties(f"{node.id}.{key}", run_id, accuracy, blessed, serving, made, content)
            if span is not None and node.id in ("ExampleGen", "DataGate"):
                properties |= {SPAN_NUMBER: span, SPAN_VERSION: 0}
            if span is not None and node.id == "DataGate":
                properties[EXAMPLES_ID] = made["ExampleGen.examples"]
            _set(artifact.custom_properties, properties)
            (number,) = self.store.put_artifacts([artifact])
            self._properties[number] = {"id": number, "uri": str(folder), **properties}
            found[f"{node.id}.{key}"] = number
        if node.id == "Pusher" and blessed:
            card = serving / CARD_FILE
            card.parent.mkdir(parents=True)
            card.write_text(json.dumps({"digest": content}))
        return found

    def _execution(self, node: RecordedNode, state: str, events: list, contexts: list[int], properties: dict) -> int:
        execution = mlmd.Execution(type_id=self._type("execution", node.kind), last_known_state=getattr(_STATE, state))
        _set(execution.custom_properties, properties)
        (number,) = self.store.put_executions([execution])
        told: dict[tuple[int, int], mlmd.Event] = {}
        for key, artifact, event_type in events:
            # As TFX has it: what comes under several keys is one event.
            event = told.setdefault(
                (artifact, event_type), _EVENT(artifact_id=artifact, execution_id=number, type=event_type)
            )
            event.path.steps.add().key = key
            event.path.steps.add().index = 0
        self.store.put_events(list(told.values()))
        links = [mlmd.Association(context_id=context, execution_id=number) for context in contexts]
        made = [artifact for _, artifact, event_type in events if event_type == _EVENT.OUTPUT]
        owned = [
            mlmd.Attribution(context_id=context, artifact_id=artifact) for context in contexts for artifact in made
        ]
        self.store.put_attributions_and_associations(owned if state == "COMPLETE" else [], links)
        return number

    def _opening(self, run_id: str, settings: dict, modules: dict, packages: dict) -> RunRecord:
        nodes = {node: sorted(modules) for node in self._nodes}
        provenance = {
            "settings": {**settings, "enable_cache": True},
            "origins": {},
            "data": {"name": "fashion_mnist", "digest": "d1", "folder": "data"},
            "code": {
                "digest": repr(modules),
                "modules": modules,
                "nodes": nodes,
                "libraries": {node: sorted(packages) for node in self._nodes},
            },
            "git": {"revision": "54d418f", "clean": True},
            "packages": packages,
            "machine": {"cores": 2},
            "command": ["local_runner.py"],
        }
        opening = {"run_id": run_id, "preset": "fast", "seed": settings.get("seed", 1), "name": "fashion_mnist"}
        opening["published_as"] = "fashion_mnist"
        kept = RunRecord(self._root.run(run_id), None, {**opening, "environment": {}, "provenance": provenance})
        kept.content["nodes"] = [
            {"id": node.id, "state": "skipped", "seconds": 0.0, "detail": "", "after": list(node.after), "made": {}}
            for node in self._nodes.values()
        ]
        kept.content["wall_seconds"] = 125.0
        return kept

    def _note(self, kept: RunRecord, node: RecordedNode, state: str, events: list) -> None:
        outputs = {
            key: self._properties[number] for key, number, kind in events if kind != _EVENT.INPUT and number is not None
        }
        states = {"COMPLETE": "ran", "CACHED": "cached", "FAILED": "failed"}
        error = RuntimeError("it broke") if state == "FAILED" else None
        kept.end(node.id, state=states[state], seconds=1.0, outputs=None if error else outputs, error=error)

    def _type(self, kind: str, name: str) -> int:
        if (kind, name) not in self._types:
            made = {"artifact": mlmd.ArtifactType, "execution": mlmd.ExecutionType, "context": mlmd.ContextType}[kind]
            self._types[kind, name] = getattr(self.store, f"put_{kind}_type")(made(name=name))
        return self._types[kind, name]

    def _context(self, kind: str, name: str) -> int:
        if (kind, name) not in self._contexts:
            context = mlmd.Context(type_id=self._type("context", kind), name=name)
            (self._contexts[kind, name],) = self.store.put_contexts([context])
        return self._contexts[kind, name]


def _read(source: str | None, made: dict[str, int], chosen: dict[str, dict[str, list[int]]]) -> list[int]:
    """Returns what comes from a source, NODE.KEY: what a resolver chose, or what was made."""
    node, _, key = (source or ".").partition(".")
    if node in chosen:
        return chosen[node].get(key, [])
    return [made[source]] if source in made else []


def _properties(
    output: str, run_id: str, accuracy: float, blessed: bool, serving: Path, made: dict, content: str
) -> dict:
    """Returns the custom properties of an output, NODE.KEY, as its component would set them."""
    metrics = {"test_accuracy": accuracy, "test_loss": 0.25, "per_class_accuracy": {"Bag": accuracy}}
    found: dict[str, dict] = {
        "ExampleGen.examples": {
            "digest": f"digest of {run_id}",
            "counts": json.dumps({"train": 55_000, "test": 10_000}),
        },
        "Trainer.model_run": {"training": json.dumps({"val_accuracy": accuracy, "epochs": 5})},
        "Exporter.model": {"digest": content},
        "InfraValidator.blessing": {
            "blessed": 1,
            "measured": json.dumps(
                {
                    "examples": 10_000,
                    "litert_disagreements": 0,
                    "load_seconds": 0.5,
                    "latency_ms": {"predict_images": {"1": 1.0}},
                }
            ),
        },
        "Evaluator.evaluation": {"test_accuracy": accuracy, "metrics": json.dumps(metrics)},
        "Evaluator.blessing": {
            "blessed": int(blessed),
            "reasons": json.dumps([] if blessed else ["accuracy (overall): too low"]),
            "verdict": "blessed: good" if blessed else "refused: accuracy (overall): too low",
        },
        "DataGate.blessing": {
            "blessed": 1,
            "warnings": 0,
            "anomalies": "[]",
            "current_statistics_id": made.get("StatisticsGen.statistics", 0),
        },
        "Pusher.pushed_model": {
            "pushed": int(blessed),
            "pushed_version": serving.name if blessed else "",
            "pushed_destination": str(serving) if blessed else "",
            "model_id": made.get("Exporter.model", 0),
            "serving_folder": str(serving.parent),
            "content_digest": content,
            "outcome": "pushed" if blessed else "not blessed",
        },
    }
    return found.get(output, {})


def _set(fields, properties: dict) -> None:
    for name, value in properties.items():
        set_property(fields[name], value)
