"""The pipeline for Kubeflow Pipelines: compiled by TFX's runner, and its containers' commands played on this machine.

kfp is installed into a folder beside the environment, from deploy/kubeflow.lock. There is no cluster: the player hands
each command what Kubeflow's launcher would, and keeps what it says.
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.errors import InputError
from components.example_gen.dataset import inspect_dataset
from models.config import TrainingConfig
from models.examples import ExamplesError
from pipeline.config import KubeflowConfig, PipelineConfig
from pipeline.kubeflow.compiling import command, compile_pipeline, pipeline_name_there
from pipeline.kubeflow.task import main, moved, typed
from pipeline.nodes import NODES
from pipeline.presets import preset
from pipeline.settings import Settings
from tests.conftest import ROOT

IMAGE = "registry.example/image-pipeline:7"
RESOLVERS = ("AcceptedData", "BlessedModel-model-blessing-resolver", "BlessedModel-model-resolver")


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    """A folder with what deploy/kubeflow.lock has, from the package index."""
    folder = tmp_path_factory.mktemp("kubeflow") / "packages"
    lock = ROOT / "deploy" / "kubeflow.lock"
    uv = [Path(sys.executable).with_name("uv"), "pip", "install", "--quiet", "--python", sys.executable]
    install = [*uv, "--target", folder, "--no-deps", "--require-hashes", "-r", lock]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode and "CI" not in os.environ:
        pytest.skip(f"kfp cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return folder


def environ(packages: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{ROOT}"}


@pytest.fixture(scope="module")
def compiled(packages, fashion_mnist, tmp_path_factory) -> dict:
    """The job of the preset smoke, its outputs in a bucket that is mounted as a folder."""
    output = tmp_path_factory.mktemp("compiled") / "made" / "pipeline.json"
    settings = {
        "image": IMAGE,
        "root": "gs://bucket/pipeline",
        "mount": f"gs://={output.parent}/gcs/",
        "data": fashion_mnist,
        "shared": output.parent / "shared",
    }
    words = [word for name, value in settings.items() for word in ("--set", f"kubeflow.{name}={value}")]
    run = [sys.executable, "kubeflow_runner.py", output, "--preset", "smoke", "--data-dir", fashion_mnist, *words]
    run += ["--set", f"output_root={output.parent / 'none'}"]
    done = subprocess.run(run, cwd=ROOT, env=environ(packages), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{output}: pipeline fashion-mnist-smoke-28x28-10, 14 nodes, image {IMAGE}\n"
    assert not (output.parent / "none").exists()
    return json.loads(output.read_text()) | {"folder": output.parent}


def tasks(compiled: dict) -> dict:
    return compiled["pipelineSpec"]["root"]["dag"]["tasks"]


def executor(compiled: dict, task: str) -> dict:
    spec = compiled["pipelineSpec"]
    label = spec["components"][tasks(compiled)[task]["componentRef"]["name"]]["executorLabel"]
    return spec["deploymentSpec"]["executors"][label]


@pytest.mark.slow
def test_every_node_is_a_task_and_comes_after_those_that_it_reads(compiled):
    asked = {node.id for node in NODES.values() if node.asked(preset("smoke"))}
    assert set(tasks(compiled)) == asked - {"BlessedModel"} | set(RESOLVERS)
    after = {name: set(task.get("dependentTasks", ())) for name, task in tasks(compiled).items()}
    shown = ("ExampleGen", "Transform", "Trainer", "BulkInferrer", "Evaluator", "Pusher")
    assert {name: after[name] for name in shown} == {
        "ExampleGen": set(),
        # Nothing is trained on data that did not pass the gate.
        "Transform": {"ExampleGen", "DataGate"},
        "Trainer": {"ExampleGen", "Transform"},
        "BulkInferrer": {"ExampleGen", "Exporter", "InfraValidator", "BlessedModel-model-resolver"},
        "Evaluator": {"Exporter", "BulkInferrer"},
        "Pusher": {"Exporter", "InfraValidator", "Evaluator"},
    }
    for name, task in tasks(compiled).items():
        for given in task.get("inputs", {}).get("artifacts", {}).values():
            produced = given["taskOutputArtifact"]
            keys = compiled["pipelineSpec"]["components"][produced["producerTask"]]["outputDefinitions"]["artifacts"]
            assert produced["outputArtifactKey"] in keys
            assert produced["producerTask"] in after[name] or name in RESOLVERS


@pytest.mark.slow
def test_every_container_has_the_image_and_runs_our_command_and_the_nodes_executor(compiled):
    containers = {name: executor(compiled, name)["container"] for name in tasks(compiled) if name not in RESOLVERS}
    assert {found["image"] for found in containers.values()} == {IMAGE}
    assert {tuple(found["command"][:3]) for found in containers.values()} == {
        ("python", "-m", "pipeline.kubeflow.task")
    }
    for name, found in containers.items():
        modules = NODES[name].modules
        path = found["args"][found["args"].index("--executor_class_path") + 1]
        assert any(path.startswith((f"{module}.", f"{module.rpartition('.')[0]}.")) for module in modules), name
    assert compiled["runtimeConfig"]["gcsOutputDirectory"] == "gs://bucket/pipeline"


@pytest.mark.slow
def test_parameters_are_the_settings(compiled):
    def parameter(task: str, name: str):
        (value,) = tasks(compiled)[task]["inputs"]["parameters"][name]["runtimeValue"]["constantValue"].values()
        return value

    config = preset("smoke")
    recipe = json.loads(parameter("Trainer", "custom_config"))
    assert (recipe["seed"], recipe["training"]["epochs"]) == (config.seed, config.training.epochs)
    split = json.loads(parameter("ExampleGen", "split"))
    assert (split["limits"], split["shards"]) == ([*config.split_limits], [*config.shards])
    assert parameter("Pusher", "name") == "fashion_mnist.smoke"
    assert parameter("DataGate", "severity") == config.gate_severity


@pytest.mark.slow
def test_baseline_is_chosen_by_a_resolver_that_kubeflow_knows(compiled):
    filters = {
        name: next(iter(executor(compiled, name)["resolver"]["outputArtifactQueries"].values()))["filter"]
        for name in RESOLVERS
    }
    assert filters["AcceptedData"] == 'schema_title="tfx.ExampleStatistics" AND state=LIVE'
    assert "metadata.blessed.number_value=1" in filters["BlessedModel-model-blessing-resolver"]
    assert "metadata['current_model_id']" in filters["BlessedModel-model-resolver"]


class Player:
    """Runs the commands of the containers here, one after the other, as Kubeflow's launcher calls them."""

    def __init__(self, compiled: dict, packages: Path) -> None:
        self._compiled, self._environ = compiled, environ(packages)
        self.made: dict[tuple[str, str], list[dict]] = {}

    def artifacts(self, definition: dict, task: str) -> dict:
        """Returns the empty outputs of a task, as the launcher hands them over."""
        return {
            key: {
                "artifacts": [
                    {"name": f"{task}/{key}", "uri": f"{self._root(task)}/{key}", "type": kind["artifactType"]}
                ]
            }
            for key, kind in definition.items()
        }

    def _made_by(self, producerTask: str, outputArtifactKey: str) -> list[dict]:
        # What a resolver would look for was never made.
        return [] if producerTask in RESOLVERS else self.made[producerTask, outputArtifactKey]

    def _root(self, task: str) -> str:
        return f"{self._compiled['runtimeConfig']['gcsOutputDirectory']}/1/{task}"

    def play(self, task: str) -> subprocess.CompletedProcess:
        """Runs one task, and keeps what it put out."""
        spec, definition = tasks(self._compiled)[task], self._compiled["pipelineSpec"]["components"][task]
        given = spec.get("inputs", {})
        kinds = definition.get("inputDefinitions", {}).get("artifacts", {})
        read = {
            key: {"artifacts": self._made_by(**asked["taskOutputArtifact"])}
            for key, asked in given.get("artifacts", {}).items()
        }
        parameters = {key: value["runtimeValue"]["constantValue"] for key, value in given.get("parameters", {}).items()}
        outputs = self.artifacts(definition["outputDefinitions"]["artifacts"], task)
        output_file = f"{self._root(task)}/executor_output.json"
        invocation = {
            "inputs": {"artifacts": {key: found for key, found in read.items() if found["artifacts"]}},
            "outputs": {"artifacts": outputs, "outputFile": output_file},
        }
        invocation["inputs"]["parameters"] = parameters
        assert set(read) <= set(kinds)
        container = executor(self._compiled, task)["container"]
        words = [sys.executable, *container["command"][1:], *container["args"]]
        words = [json.dumps(invocation) if word == "{{$}}" else word for word in words]
        done = subprocess.run(words, cwd=ROOT, env=self._environ, capture_output=True, text=True)
        if done.returncode == 0:
            folder = self._compiled["folder"] / "gcs"
            told = json.loads((folder / output_file.removeprefix("gs://")).read_text())
            for key, found in told["artifacts"].items():
                kind = outputs[key]["artifacts"][0]
                self.made[task, key] = [kind | artifact for artifact in found["artifacts"]]
        return done


@pytest.mark.slow
def test_commands_of_the_containers_read_and_write_the_mounted_bucket(compiled, packages):
    player = Player(compiled, packages)
    for task in ("ExampleGen", "StatisticsGen"):
        done = player.play(task)
        assert done.returncode == 0, done.stderr[-3000:]
    (examples,) = player.made["ExampleGen", "examples"]
    assert examples["uri"] == "gs://bucket/pipeline/1/ExampleGen/examples"
    assert json.loads(examples["metadata"]["counts"]) == {"train": 4000, "val": 500, "test": 1000}
    (statistics,) = player.made["StatisticsGen", "statistics"]
    place = compiled["folder"] / "gcs" / statistics["uri"].removeprefix("gs://")
    assert sorted(path.name for path in place.iterdir()) == ["Split-test", "Split-train", "Split-val"]
    # The data in the container are those that it was compiled for, or it says so in a line.
    changed = json.loads(json.dumps(compiled, default=str)) | {"folder": compiled["folder"]}
    tasks(changed)["ExampleGen"]["inputs"]["parameters"]["input_digest"]["runtimeValue"]["constantValue"] = {
        "stringValue": "0" * 64
    }
    done = Player(changed, packages).play("ExampleGen")
    assert done.returncode == 2
    assert "expected the data that the pipeline was compiled for, of digest 000000000000, found" in done.stderr


# Without kfp


def settings(**kubeflow: str) -> Settings:
    return Settings.of(PipelineConfig(kubeflow=KubeflowConfig(**kubeflow)))


@pytest.mark.parametrize(("given", "name"), [({}, "image"), ({"image": "a:1"}, "root")])
def test_image_and_root_have_to_be_given(given, name, tmp_path):
    with pytest.raises(InputError, match=rf"^kubeflow\.{name}: expected one, such as .*, found none\. Give --set"):
        compile_pipeline(settings(**given), ROOT, tmp_path / "p.json")


def test_what_no_resolver_of_kubeflows_can_choose_is_refused(tmp_path):
    given = settings(image="a:1", root="/pipeline").given
    spans = PipelineConfig(kubeflow=KubeflowConfig(image="a:1", root="/p"), data_dir=Path("in/span-{SPAN}"))
    with pytest.raises(InputError, match=r"expected one data set, found a pattern of spans.*local_runner\.py"):
        compile_pipeline(Settings.of(spans), ROOT, tmp_path / "p.json")
    assert given["kubeflow.image"] == "a:1"
    warm = dataclasses.replace(settings(image="a:1", root="/p").config, training=TrainingConfig(warm_start=True))
    with pytest.raises(InputError, match=r"training\.warm_start: expected false, found true: Kubeflow has no resolver"):
        compile_pipeline(Settings.of(warm), ROOT, tmp_path / "p.json")
    with pytest.raises(InputError, match=r"p\.txt: expected a file that ends in \.json, \.yaml or \.yml"):
        compile_pipeline(settings(), ROOT, tmp_path / "p.txt")


def test_names_become_those_that_kubeflow_takes():
    assert pipeline_name_there("fashion_mnist.smoke-28x28-10") == "fashion-mnist-smoke-28x28-10"
    assert pipeline_name_there("_Ünï_" + "a" * 200) == "n-" + "a" * 126


def test_what_decides_what_the_images_become_is_told_to_the_container(fashion_mnist):
    config = PipelineConfig(image_size=(16, 20), kubeflow=KubeflowConfig(mount="gs://=/gcs/"))
    words = command(config)
    assert words[-2:] == ["--set", "image_size=16,20"]
    assert words[words.index("--mount") + 1] == "gs://=/gcs/"
    assert inspect_dataset(fashion_mnist).digest, "what it is compared by"


def test_properties_of_an_artifact_keep_their_types():
    schema = "title: tfx.Examples\ntype: object\nproperties:\n  split_names:\n    type: string\n"
    metadata = {"split_names": '["train"]', "counts": '{"train": 3}', "bytes": 3.0, "share": 0.5, "all": {"train": 1.0}}
    found = typed({"uri": "/a", "type": {"instanceSchema": schema}, "metadata": metadata})
    assert found["metadata"] == {"split_names": '["train"]', "all": {"train": 1.0}}
    assert found["customProperties"] == {
        "counts": {"stringValue": '{"train": 3}'},
        "bytes": {"intValue": "3"},
        "share": {"doubleValue": 0.5},
    }
    assert typed({"uri": "/a"}) == {"uri": "/a", "metadata": {}, "customProperties": {}}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device", "/gcs/b/a"), "/gcs/b/a: cannot be written (No space left on device)"),
        (ExamplesError("shard-3: expected records, found a damaged one."), "shard-3: expected records, found a"),
    ],
    ids=["full disk", "damaged shard"],
)
def test_full_disk_and_a_damaged_shard_are_a_line_and_status_2_there(monkeypatch, capsys, error, told):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("pipeline.kubeflow.task._run", fail)
    assert main(["--shared", "/shared", "--data", "/data"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if told in line]
    assert line.startswith(f"python -m pipeline.kubeflow.task: {told}")


def test_bug_keeps_its_traceback_there(monkeypatch):
    monkeypatch.setattr("pipeline.kubeflow.task._run", lambda *_: [].pop())
    with pytest.raises(IndexError):
        main(["--shared", "/shared", "--data", "/data"])


def test_addresses_become_paths_and_paths_addresses():
    text = '{"uri": "gs://b/a", "told": "of gs://b/a", "x": ["gs://b/c"]}'
    there = moved(text, "gs://", "/gcs/")
    assert there == '{"uri": "/gcs/b/a", "told": "of gs://b/a", "x": ["/gcs/b/c"]}'
    assert moved(there, "/gcs/", "gs://") == text
    assert moved(text, "", "") == text
