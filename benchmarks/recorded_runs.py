"""Writes runs into ML Metadata as the pipeline records them, without running anything: for tests and benchmarks.

Synopsis:

    runs = RecordedRuns(tmp_path / "output")
    runs.add("20260101-000000-000")                                   # everything ran
    runs.add("20260102-000000-000", changed="Trainer", settings={"seed": 7})     # the Trainer and what follows it
"""

import itertools
import json
from pathlib import Path

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

PIPELINE = "fashion_mnist-28x28-10"
# By node: the keys of its inputs, and the types of its outputs by key.
DAG = {
    "ExampleGen": ((), {"examples": "Examples"}),
    "StatisticsGen": (("examples",), {"statistics": "ExampleStatistics"}),
    "SchemaGen": (("statistics",), {"schema": "Schema"}),
    "ExampleValidator": (("statistics", "schema"), {"anomalies": "ExampleAnomalies"}),
    "DataGate": (("statistics", "anomalies"), {"data_blessing": "DataBlessing"}),
    "Transform": (("examples", "schema"), {"transform_graph": "TransformGraph"}),
    "Trainer": (("examples", "transform_graph"), {"model": "Model", "model_run": "ModelRun"}),
    "BlessedModel": (("baseline",), {"subject": "Model"}),
    "InfraValidator": (("model",), {"infra_blessing": "InfraBlessing"}),
    "Evaluator": (("examples", "model", "subject"), {"evaluation": "ModelEvaluation", "blessing": "ModelBlessing"}),
    "BulkInferrer": (("examples", "model"), {"predictions": "Predictions"}),
    "Pusher": (("model", "blessing", "infra_blessing"), {"pushed_model": "PushedModel"}),
}
_STATE, _EVENT = mlmd.Execution, mlmd.Event
RESOLVER = "tfx.dsl.components.common.resolver.Resolver"


class RecordedRuns:
    """A database of ML Metadata below an output root, to which runs are added.

    Attributes:
      store: ML Metadata's own interface to it.
      artifacts: by run and key the id of what the run made or took from the cache.
      executions: by run and node the id of the execution.
    """

    def __init__(self, output_root: Path) -> None:
        self.output_root = output_root
        output_root.mkdir(parents=True, exist_ok=True)
        connection = mlmd.ConnectionConfig()
        connection.sqlite.filename_uri = str(output_root / "metadata.db")
        connection.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self.store = metadata_store.MetadataStore(connection)
        self.artifacts: dict[str, dict[str, int]] = {}
        self.executions: dict[str, dict[str, int]] = {}
        self._latest: dict[str, int] = {}
        self._blessed: list[int] = []
        self._types: dict[tuple[str, str], int] = {}
        self._contexts: dict[tuple[str, str], int] = {}
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
    ) -> None:
        """Adds a run.

        Args:
          run_id: its id.
          changed: the node whose settings or code changed; it and what follows it run, all else is cached. In the
            first run everything runs.
          settings: of the run and of each node that runs.
          modules: digest of each module; every node depends on all of them.
          packages: versions.
          accuracy, blessed: what the Evaluator finds; without its blessing nothing is pushed.
          failed: the node that fails; those after it are not reached.
          record: whether the run keeps a record of itself.
        """
        settings, modules = settings or {"seed": 1}, modules or {"models.networks.residual": "aa"}
        fresh = set(DAG) if not self._latest else {changed} - {""}
        run, made = self._context("pipeline_run", run_id), dict(self._latest)
        self.executions[run_id] = {}
        for node, (inputs, outputs) in DAG.items():
            if node != "BlessedModel" and any(set(DAG[other][1]) & set(inputs) for other in fresh):
                fresh.add(node)
            state = "FAILED" if node == failed else "COMPLETE" if node in fresh or node == "BlessedModel" else "CACHED"
            contexts = [run, self._context("pipeline", PIPELINE), self._context("node", f"{PIPELINE}.{node}")]
            events = [(key, made[key], _EVENT.INPUT) for key in inputs if key in made]
            if node == "BlessedModel":
                # A resolver has no inputs, and what it puts out is what it chose.
                chosen = next((model for model in reversed(self._blessed) if model != made["model"]), None)
                made.pop("subject", None)
                if chosen:
                    made["subject"] = chosen
                events = [("subject", chosen, _EVENT.INTERNAL_OUTPUT)] if chosen else []
            elif state == "COMPLETE":
                made |= self._outputs(node, outputs, run_id, accuracy=accuracy, blessed=blessed)
            if state != "FAILED" and node != "BlessedModel":
                events += [(key, made[key], _EVENT.OUTPUT) for key in outputs]
            properties = {} if node == "BlessedModel" else {"custom_config": settings, "code_digest": repr(modules)}
            self.executions[run_id][node] = self._execution(node, state, events, contexts, properties)
            if node == failed:
                break
        self.artifacts[run_id] = made
        if not failed:
            self._latest = made
            if blessed and "Evaluator" in fresh:
                self._blessed.append(made["model"])
        if record:
            self._record(run, run_id, settings, modules, packages or {"tfx": "1.21.0"}, accuracy, blessed, failed)

    def _outputs(self, node: str, outputs: dict, run_id: str, *, accuracy: float, blessed: bool) -> dict[str, int]:
        version = next(self._versions)
        serving = self.output_root / "serving" / "fashion_mnist" / str(version)
        properties: dict[str, dict] = {
            "examples": {"digest": f"digest of {run_id}", "counts": json.dumps({"train": 55_000, "test": 10_000})},
            "evaluation": {
                "test_accuracy": accuracy,
                "metrics": json.dumps({"test_accuracy": accuracy, "per_class_accuracy": {"Bag": accuracy}}),
            },
            "blessing": {"blessed": int(blessed)},
            "data_blessing": {"blessed": 1, "current_statistics_id": self._latest.get("statistics", 0)},
            "pushed_model": {
                "pushed": int(blessed),
                "pushed_version": str(version) if blessed else "",
                "pushed_destination": str(serving) if blessed else "",
            },
        }
        found = {}
        for key, kind in outputs.items():
            folder = self.output_root / "artifacts" / node / key / str(version)
            folder.mkdir(parents=True)
            (folder / "content").write_bytes(b"0123456789")
            artifact = mlmd.Artifact(type_id=self._type("artifact", kind), uri=str(folder), state=mlmd.Artifact.LIVE)
            _set(artifact.custom_properties, properties.get(key, {}))
            (found[key],) = self.store.put_artifacts([artifact])
        if node == "Pusher" and blessed:
            serving.mkdir(parents=True)
        return found

    def _execution(self, node: str, state: str, events: list, contexts: list[int], properties: dict) -> int:
        kind = RESOLVER if node == "BlessedModel" else f"components.{node}"
        execution = mlmd.Execution(type_id=self._type("execution", kind), last_known_state=getattr(_STATE, state))
        _set(execution.custom_properties, properties)
        (number,) = self.store.put_executions([execution])
        told = []
        for key, artifact, event_type in events:
            event = _EVENT(artifact_id=artifact, execution_id=number, type=event_type)
            event.path.steps.add().key = key
            event.path.steps.add().index = 0
            told.append(event)
        self.store.put_events(told)
        links = [mlmd.Association(context_id=context, execution_id=number) for context in contexts]
        self.store.put_attributions_and_associations([], links)
        return number

    def _record(self, run, run_id, settings, modules, packages, accuracy, blessed, failed) -> None:
        state = "failed" if failed else "done" if blessed else "not blessed"
        status = {"failed": 1, "done": 0, "not blessed": 4}[state]
        context = mlmd.Context(id=run, type_id=self._type("context", "pipeline_run"), name=run_id)
        properties = {
            "preset": "fast",
            "seed": settings.get("seed", 1),
            "state": state,
            "exit_status": status,
            "wall_seconds": 125.0,
            "settings": {**settings, "enable_cache": True},
            "data": {"name": "fashion_mnist", "digest": "d1"},
            "code": {"digest": repr(modules), "modules": modules, "nodes": {node: sorted(modules) for node in DAG}},
            "git": {"revision": "54d418f", "clean": True},
            "packages": packages,
            "machine": {"cores": 2},
            "command": ["local_runner.py"],
        }
        if not failed:
            properties |= {"test_accuracy": accuracy, "blessed": int(blessed)}
            if blessed:
                pushed = self.store.get_artifacts_by_id([self.artifacts[run_id]["pushed_model"]])[0]
                properties["pushed_model"] = pushed.custom_properties["pushed_destination"].string_value
        _set(context.custom_properties, properties)
        self.store.put_contexts([context])

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


def _set(fields, properties: dict) -> None:
    for name, value in properties.items():
        if isinstance(value, int):
            fields[name].int_value = value
        elif isinstance(value, float):
            fields[name].double_value = value
        else:
            fields[name].string_value = value if isinstance(value, str) else json.dumps(value)
