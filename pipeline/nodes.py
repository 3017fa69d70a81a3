"""The nodes of the DAG, a record each, in the order in which `create_pipeline` lists them.

Everything that must know a node asks here: the DAG for the code that its cache key covers, the console for its line,
the record of a run for what it made, the report for the gates, `why`, `lineage` and the tests' recorded runs. To add
one: its folder in `components/`, a record here, a line in `create_pipeline`.

Synopsis:

    NODES["ExampleGen"].detail({"examples": {"counts": '{"train": 3, "test": 1}'}})      # "4 examples"
    Selection(from_node="Trainer")      # the Trainer and all that depends on it, on earlier outputs
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.errors import InputError
from components.properties import ASKED_MODEL
from components.pusher.outcomes import HELD_BACK, NOT_BLESSED, PUSHED, TAKEN_BACK, became_of
from pipeline.output_root import training_logs

# By key of the output: the custom properties of the artifact, and its `id` and `uri`.
Outputs = dict[str, dict]
# What the record tells of the pixels, by the feature whose mean over the images it is.
_PIXELS = {"mean": "image_mean", "std": "image_stddev"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gate:
    """A node at which a run can be stopped.

    Attributes:
      question: that it answers.
      passes: whether what it put out lets the run go on; one that fails refuses; None where the question was not asked.
      reasons: why, given what it put out, a line each.
    """

    question: str
    reasons: Callable[[Outputs], list[str]]
    passes: Callable[[Outputs], bool | None] = lambda outputs: True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """What is known of a node apart from what it does.

    Attributes:
      id: in the DAG.
      modules: whose source and libraries its cache key covers: of this project, or, for what is TFX's own, packages.
      gate: what it answers, if it is a gate.
      detail: what it made, in a few words for its line on the console.
      facts: what of it goes into the record of the run, by key of summary.json.
      shown: the properties of its outputs that `lineage` shows beside an artifact, by key of the output.
      compares: the keys of the inputs that it only compares with, which are no part of what it makes: `lineage` shows
        them and goes no further.
      begins: the node that a part of the pipeline from this one begins with.
      asked, flag: whether a run with this `PipelineConfig` has it, and what asks for it where that is not always so.
    """

    id: str
    modules: tuple[str, ...]
    gate: Gate | None = None
    detail: Callable[[Outputs], str] = lambda outputs: ""
    facts: Callable[[Outputs], dict] = lambda outputs: {}
    shown: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    compares: tuple[str, ...] = ()
    begins: str = ""
    asked: Callable[[Any], bool] = lambda config: True
    flag: str = ""


def plural(count: int, noun: str) -> str:
    """Returns a number and what it counts: 1 warning, 2 warnings."""
    return f"{count:,} {noun}" + "s" * (count != 1)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _counted(outputs: Outputs) -> str:
    return plural(sum(json.loads(outputs["examples"]["counts"]).values()), "example")


def _examples(outputs: Outputs) -> dict:
    examples = outputs["examples"]
    return {"data": {"digest": examples["digest"], "splits": json.loads(examples["counts"])}}


def _profile(outputs: Outputs) -> dict:
    statistics = outputs["statistics"]
    profile = json.loads(statistics["profile"])
    labels = dict(zip(json.loads(statistics["class_names"]), profile["labels"], strict=True))
    means = {name: round(profile["features"][key][0], 3) for name, key in _PIXELS.items()}
    return {"data": {"labels": labels, "pixels": means}}


def _window(outputs: Outputs) -> str:
    spans = json.loads(outputs["examples"]["window"])
    count = sum(span["examples"] for span in spans)
    told = spans[0]["name"] if len(spans) == 1 else f"{spans[0]['name']} to {spans[-1]['name']}"
    return f"{plural(len(spans), 'span')}, {told}, {plural(count, 'example')}"


def _schema(outputs: Outputs) -> str:
    schema = outputs["schema"]
    if schema.get("curated", 1):
        return "curated"
    return f"inferred; to make it the curated one, copy {schema['uri']}/schema.pbtxt beside the data"


def _validated(outputs: Outputs) -> str:
    fits = dict(outputs["anomalies"]["blessed"])
    return f"{sum(fits.values()):.0f} of {len(fits)} splits without anomalies"


def _resolved(outputs: Outputs) -> str:
    if "blessing" in outputs and "span_name" in outputs["blessing"]:
        return f"spans to {outputs['blessing']['span_name']}"
    return f"artifact {outputs['subject']['id']}" if "subject" in outputs else "none yet"


def _anomalies(outputs: Outputs) -> list[str]:
    found = json.loads(outputs["blessing"]["anomalies"])
    told = [f"{a['severity']}: {a['split']}: {a['feature'] or 'all examples'}: {a['text']}" for a in found]
    return told or ["no anomaly, no skew, no image in two splits"]


def _tuned(outputs: Outputs) -> str:
    trials = json.loads(outputs["tuner_results"]["trials"])
    best = best_trial(trials)
    return (
        f"{plural(len(trials), 'trial')}, best {best['trial']} with {_percent(best['val_accuracy'])} validation, "
        f"as it stands {_percent(trials[0]['val_accuracy'])}"
    )


def best_trial(trials: list[dict]) -> dict:
    """Returns the trial of a search that the Trainer takes: of equally good ones the first."""
    return max(trials, key=lambda trial: trial["val_accuracy"])


def _search(outputs: Outputs) -> dict:
    best = json.loads(outputs["best_hyperparameters"]["values"])
    return {"search": {"best": best, "trials": json.loads(outputs["tuner_results"]["trials"])}}


def _trained(outputs: Outputs) -> str:
    training = json.loads(outputs["model_run"]["training"])
    mirrored = {True: ", mirrored", False: ", not mirrored"}.get(training.get("flip"), "")
    mirrored += ", answers for both sides" if training.get("mirrored_view") else ""
    stopped = ", stopped early" if training.get("stopped_early") else ""
    warm = ", warm start" if training.get("warm_start") else ""
    epochs = plural(training["epochs"], "epoch")
    return f"{_percent(training['val_accuracy'])} validation, {epochs}{warm}{stopped}{mirrored}"


def _training(outputs: Outputs) -> dict:
    training = json.loads(outputs["model_run"]["training"])
    profile = training.pop("profile", None)
    logs = training_logs(outputs["model_run"]["uri"], outputs["model_run"].get("run"))
    return {"training": training, "profile": profile, "tensorboard": logs}


def _asked(outputs: Outputs) -> str:
    measured = json.loads(outputs["blessing"]["measured"])
    return f"served {plural(measured['examples'], 'image')}, {measured['litert_disagreements']} otherwise by LiteRT"


def _served(outputs: Outputs) -> list[str]:
    measured = json.loads(outputs["blessing"]["measured"])
    one = measured["latency_ms"]["predict_images"]["1"]
    return [f"loaded in {measured['load_seconds']:.1f} s, one image in {one:.1f} ms in a fresh process"]


def _evaluated(outputs: Outputs) -> str:
    word = "blessed" if outputs["blessing"]["blessed"] else "not blessed"
    return f"{word}, {_percent(outputs['evaluation']['test_accuracy'])} test"


def _evaluation(outputs: Outputs) -> dict:
    blessing = outputs["blessing"]
    return {
        "metrics": json.loads(outputs["evaluation"]["metrics"]),
        "blessed": bool(blessing["blessed"]),
        "blessing_reasons": json.loads(blessing["reasons"]),
        "verdict": blessing["verdict"],
    }


def _verdict(outputs: Outputs) -> list[str]:
    found = _evaluation(outputs)
    verdict = found["verdict"].split(": ", 1)[-1]
    return [verdict, *(reason for reason in found["blessing_reasons"] if reason not in verdict)]


def _is_published(outputs: Outputs) -> bool | None:
    found = became_of(outputs["pushed_model"])
    return None if found["push"] == HELD_BACK else found["pushed_model"] is not None


def _pushed(outputs: Outputs) -> str:
    found = became_of(outputs["pushed_model"])
    version, served = (Path(found[name] or "").name for name in ("pushed_model", "served_model"))
    if found["push"] == NOT_BLESSED:
        return "not pushed"
    if not version or found["push"] == HELD_BACK:
        return f"not pushed: {found['push']}"
    if version != served:
        word = "was taken back" if found["push"] == TAKEN_BACK else "was pushed before"
        return f"version {version} {word}; {served} is served"
    return f"{found['push']} as version {version}" if found["push"] != PUSHED else f"version {version}"


def _published(outputs: Outputs) -> list[str]:
    pushed = became_of(outputs["pushed_model"])["pushed_model"]
    place = [f"as {'/'.join(Path(pushed).parts[-3:])}"] if pushed else []
    told = _pushed(outputs)
    return place if place and told == f"version {Path(pushed).name}" else [*place, told]


NODES: dict[str, Node] = {}


def register(node: Node) -> None:
    """Adds a node; its place in the order of the DAG is behind those that are there.

    Raises:
      ValueError: there is one of that id.
    """
    if node.id in NODES:
        raise ValueError(f"node {node.id}: expected an id that is not taken yet.")
    NODES[node.id] = node


for _node in (
    Node(
        id="ExampleGen",
        modules=("components.example_gen.component",),
        detail=_counted,
        facts=_examples,
        shown={"examples": ("digest", "counts")},
    ),
    Node(id="StatisticsGen", modules=("components.statistics_gen.component",), facts=_profile),
    Node(id="SchemaGen", modules=("components.schema_gen.component",), detail=_schema),
    Node(id="ExampleValidator", modules=("tfx", "tensorflow_data_validation"), detail=_validated),
    Node(
        id="AcceptedData",
        modules=("components.latest_blessed", "components.span_window.choosing"),
        detail=_resolved,
    ),
    Node(
        id="DataGate",
        modules=("components.data_gate.component",),
        gate=Gate(question="Are the data what training may rest on?", reasons=_anomalies),
        detail=lambda outputs: f"passed, {plural(outputs['blessing']['warnings'], 'warning')}",
        shown={"blessing": ("blessed",)},
        compares=("accepted_statistics", "earlier", "own", ASKED_MODEL),
    ),
    Node(
        id="Spans",
        modules=("components.span_window.choosing",),
        asked=lambda config: config.in_spans,
        flag="--data-dir with {SPAN}, or a date, in it",
    ),
    Node(
        id="Window",
        modules=("components.span_window.component",),
        detail=_window,
        facts=lambda outputs: {"window": json.loads(outputs["examples"]["window"])},
        shown={"examples": ("digest", "window")},
        asked=lambda config: config.in_spans,
        flag="--data-dir with {SPAN}, or a date, in it",
    ),
    Node(id="Transform", modules=("components.transform.component",)),
    Node(
        id="Tuner",
        modules=("components.tuner.component",),
        detail=_tuned,
        facts=_search,
        shown={"best_hyperparameters": ("val_accuracy",)},
        asked=lambda config: config.tune.enabled,
        flag="--tune",
    ),
    Node(
        id="WarmStart",
        modules=("components.trainer.warm_start",),
        detail=lambda outputs: f"artifact {outputs['model']['id']}" if "model" in outputs else "none yet",
        asked=lambda config: config.training.warm_start,
        flag="--set training.warm_start=true",
    ),
    Node(
        id="Trainer",
        modules=("components.trainer.component",),
        detail=_trained,
        facts=_training,
        shown={"model_run": ("val_accuracy",)},
    ),
    Node(
        id="Exporter",
        modules=("components.exporter.component",),
        facts=lambda outputs: {"model_digest": outputs["model"]["digest"] or None},
    ),
    Node(id="BlessedModel", modules=("components.latest_blessed",), detail=_resolved),
    Node(
        id="InfraValidator",
        modules=("components.infra_validator.component",),
        gate=Gate(question="Does a fresh process serve the model?", reasons=_served),
        detail=_asked,
        facts=lambda outputs: {"served": json.loads(outputs["blessing"]["measured"])},
    ),
    Node(
        id="BulkInferrer",
        modules=("components.bulk_inferrer.component",),
        detail=lambda outputs: plural(outputs["predictions"]["examples"], "prediction"),
        compares=("baseline_model",),
    ),
    Node(
        id="Evaluator",
        # Cached, unless another model is to be compared with by now, which then has to be asked.
        begins="BulkInferrer",
        modules=("components.evaluator.component",),
        gate=Gate(
            question="Is the model good enough, and no worse than the last?",
            passes=lambda outputs: bool(outputs["blessing"]["blessed"]),
            reasons=_verdict,
        ),
        detail=_evaluated,
        facts=_evaluation,
        shown={"evaluation": ("test_accuracy",), "blessing": ("blessed",)},
    ),
    Node(
        id="Pusher",
        modules=("components.pusher.component",),
        gate=Gate(
            question="Is it published?",
            passes=_is_published,
            reasons=_published,
        ),
        detail=_pushed,
        facts=lambda outputs: became_of(outputs["pushed_model"]),
        shown={"pushed_model": ("pushed_version",)},
    ),
):
    register(_node)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """The part of the DAG to run: between two nodes, both included; None is the first, or the last.

    Raises:
      InputError: there is no such node.
    """

    from_node: str | None = None
    to_node: str | None = None

    def __post_init__(self) -> None:
        for node in (self.from_node, self.to_node):
            if node is not None and node not in NODES:
                raise InputError(f"node {node}: expected one of the pipeline ({', '.join(NODES)}).")

    def __bool__(self) -> bool:
        """Whether it leaves anything out."""
        return self.from_node is not None or self.to_node is not None

    def __str__(self) -> str:
        if self.from_node == self.to_node:
            return f"--only {self.from_node}"
        flags = (("--from", self.from_node), ("--to", self.to_node))
        return " ".join(f"{flag} {node}" for flag, node in flags if node is not None)
