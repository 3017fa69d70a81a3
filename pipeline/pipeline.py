"""The DAG, in the order in which it runs.

ExampleGen -> StatisticsGen -> SchemaGen -> ExampleValidator
    |               |              |               |
    |               +-> AcceptedData -> DataGate <-+     AcceptedData: the latest other data that passed (a Resolver)
    |                                       |
    |                              (Spans -> Window)     of data in spans: those to train on (a Resolver), made one
    |                                       |
    +--------> Transform <------------------+
    |              |
    |           (Tuner)                                  Tuner: with --tune, hyperparameters for the Trainer
    |         (WarmStart)                                WarmStart: with training.warm_start, what is served
    |              |
    +--------> Trainer -> Exporter -> BlessedModel       BlessedModel: the served or latest other model (a Resolver)
    |                        |             |
    +--------> InfraValidator|             |             InfraValidator: can it be served at all
    |                        |             |
    +--------> BulkInferrer <+-------------+             BulkInferrer: what both answer, asked once
                   |         |
               Evaluator <---+
                   |
                Pusher <- InfraValidator
"""

import dataclasses

# Not `from tfx import v1`: that imports Google Cloud's AI platform, a fifth of the whole start-up.
from tfx.components import ExampleValidator
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import trainer_pb2
from tfx.types import Artifact, BaseChannel, Channel, standard_artifacts

from components import places
from components.bulk_inferrer.component import BulkInferrer
from components.data_gate.component import DataBlessing, DataGate
from components.evaluator.component import Evaluator
from components.evaluator.eval_config import eval_config
from components.example_gen.component import ImageExampleGen
from components.example_gen.dataset import Dataset, read_schema_file
from components.example_gen.ingest import SplitSettings
from components.example_gen.spans import SpanPattern
from components.exporter.component import Exporter
from components.infra_validator.component import InfraValidator
from components.latest_blessed import LatestOtherBlessed
from components.properties import ASKED_MODEL
from components.pusher.component import VersionedPusher
from components.schema_gen.component import ImageSchemaGen
from components.span_window.choosing import EarlierSpans, WindowOfSpans
from components.span_window.component import SpanWindow
from components.statistics_gen.component import ImageStatisticsGen
from components.trainer.component import ReportingTrainer
from components.trainer.warm_start import LatestServedTraining
from components.transform.component import ImageTransform
from components.tuner.component import ReportingTuner
from models.features import TRAIN, VAL
from models.memory import budget_bytes
from models.precision import resolve_precision
from pipeline.config import PipelineConfig
from pipeline.engine.options import beam_options
from pipeline.metadata.library import connection_to, without_secret
from pipeline.metadata.shared import membership, of_pipeline
from pipeline.nodes import NODES
from pipeline.output_root import OutputRoot
from pipeline.run.code_digest import code_digest
from pipeline.run.data import FASHION_MNIST_SCHEMA, floors_in_force, model_name


def pipeline_name(config: PipelineConfig, dataset: Dataset) -> str:
    """Returns the name under which ML Metadata keeps the runs on a kind of data.

    Models and statistics are compared within one name only: those of other shapes or classes cannot be.
    """
    if config.in_spans:
        # Which may become of other classes, and of images of another size, with time.
        return f"{model_name(config, dataset)}-spans"
    shape = "x".join(map(str, dataset.image_shape))
    return f"{model_name(config, dataset)}-{shape}-{len(dataset.class_names)}"


def last_span(config: PipelineConfig) -> int:
    """Returns the number of the last span that is trained on, -1 for the latest that there is."""
    return -1 if config.span is None else SpanPattern.of(config.data_dir).number(config.span)


def curated_schema(dataset: Dataset) -> str:
    """Returns the text of the schema that the data must fit, "" to take the one inferred from the training split.

    Raises:
      InputError: it is no schema.
    """
    return dataset.schema or (read_schema_file(FASHION_MNIST_SCHEMA) if dataset.is_fashion_mnist else "")


def _latest_other_blessed(
    candidate: BaseChannel, blessing: type[Artifact], *, id_property: str, **further: Channel
) -> Resolver:
    return Resolver(
        strategy_class=LatestOtherBlessed,
        config={"id_property": id_property},
        subject=Channel(type=candidate.type),
        blessing=Channel(type=blessing),
        candidate=candidate,
        **further,
    )


def create_pipeline(
    config: PipelineConfig, dataset: Dataset, last_node: str | None = None, *, known_resolvers: bool = False
) -> Pipeline:
    """Returns the TFX pipeline for a configuration and the data set it reads, up to and including `last_node` if given.

    Args:
      config, dataset: of the run.
      last_node: the last one of it.
      known_resolvers: whether data and model are compared with what TFX's own resolver strategies choose, for a runner
        that knows no others; there are none for data in spans and for a warm start.

    Raises:
      ValueError: the nodes are not those that `pipeline/nodes.py` has a record of.
    """
    root = OutputRoot(config.output_root)
    folders = {"checkpoints": root.checkpoints, "trials": root.trials, "serving": root.serving_root}
    places.tell(memory=budget_bytes(config.memory_mib), **folders)
    nodes: list[BaseNode] = []

    def add(node: BaseNode) -> BaseNode:
        nodes.append(node)
        return node

    example_gen = add(
        ImageExampleGen(
            dataset=dataset,
            split=SplitSettings(
                sizes=config.split_sizes,
                limits=config.split_limits,
                shards=config.shards,
                seed=config.seed,
                stratified=config.stratified,
                encoding=config.image_encoding,
                compression=config.compression,
            ),
        ).with_id("ExampleGen")
    )
    examples = example_gen.outputs["examples"]
    statistics_gen = add(ImageStatisticsGen(examples=examples).with_id("StatisticsGen"))
    schema_gen = add(
        ImageSchemaGen(
            statistics=statistics_gen.outputs["statistics"],
            class_count=len(dataset.class_names),
            curated=curated_schema(dataset),
        ).with_id("SchemaGen")
    )
    example_validator = add(
        ExampleValidator(statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"])
    )
    gated = {
        "examples": examples,
        "statistics": statistics_gen.outputs["statistics"],
        "schema": schema_gen.outputs["schema"],
        "anomalies": example_validator.outputs["anomalies"],
        "severity": config.gate_severity,
        "duplicate_tolerance": config.duplicate_tolerance,
    }
    if config.in_spans:
        accepted_data = add(
            Resolver(
                strategy_class=EarlierSpans,
                config={"window": config.window or 0},
                blessing=Channel(type=DataBlessing),
                own=Channel(type=DataBlessing),
                model=Channel(type=standard_artifacts.Model),
                pushed=Channel(type=standard_artifacts.PushedModel),
                candidate=examples,
            ).with_id("AcceptedData")
        )
        gated |= {"earlier": accepted_data.outputs["blessing"], "own": accepted_data.outputs["own"]}
        gated[ASKED_MODEL] = accepted_data.outputs["model"]
        gated |= {"limits": config.gate, "admitted": dataset.span.admitted if dataset.span else ""}
    elif known_resolvers:
        accepted_data = add(
            Resolver(
                strategy_class=LatestArtifactStrategy, subject=Channel(type=standard_artifacts.ExampleStatistics)
            ).with_id("AcceptedData")
        )
        gated["accepted_statistics"] = accepted_data.outputs["subject"]
    else:
        accepted_data = add(
            _latest_other_blessed(
                statistics_gen.outputs["statistics"], DataBlessing, id_property="current_statistics_id"
            ).with_id("AcceptedData")
        )
        gated["accepted_statistics"] = accepted_data.outputs["subject"]
    data_gate = add(DataGate(**gated))
    statistics = statistics_gen.outputs["statistics"]
    if config.in_spans:
        spans = add(
            Resolver(
                strategy_class=WindowOfSpans,
                config={"window": config.window or 0, "last": last_span(config)},
                examples=Channel(type=standard_artifacts.Examples),
                statistics=Channel(type=standard_artifacts.ExampleStatistics),
                blessing=Channel(type=DataBlessing),
                candidate=examples,
            ).with_id("Spans")
        )
        spans.add_upstream_node(data_gate)
        window = add(
            SpanWindow(spans=spans.outputs["examples"], span_statistics=spans.outputs["statistics"]).with_id("Window")
        )
        examples, statistics = window.outputs["examples"], window.outputs["statistics"]
    transform = add(ImageTransform(examples=examples).with_id("Transform"))
    transform.add_upstream_node(data_gate)
    recipe = dataclasses.asdict(config.training) | {"precision": resolve_precision(config.training.precision)}
    fitting = {
        "examples": examples,
        "transform_graph": transform.outputs["transform_graph"],
        "train_args": trainer_pb2.TrainArgs(splits=[TRAIN]),
        "eval_args": trainer_pb2.EvalArgs(splits=[VAL]),
    }
    if config.tune.enabled:
        tuner = add(
            ReportingTuner(
                tuner_fn="models.tuner.tuner_fn",
                custom_config={
                    "seed": config.seed,
                    "training": recipe,
                    "tune": dataclasses.asdict(config.tune),
                    "code_digest": code_digest(*NODES["Tuner"].modules),
                },
                **fitting,
            ).with_id("Tuner")
        )
        fitting["hyperparameters"] = tuner.outputs["best_hyperparameters"]
    if config.training.warm_start:
        served = add(
            Resolver(
                strategy_class=LatestServedTraining,
                model=Channel(type=standard_artifacts.Model),
                pushed=Channel(type=standard_artifacts.PushedModel),
                candidate=examples,
            ).with_id("WarmStart")
        )
        fitting["base_model"] = served.outputs["model"]
    trainer = add(
        ReportingTrainer(
            run_fn="models.trainer.run_fn",
            custom_config={
                "seed": config.seed,
                "training": recipe,
                "code_digest": code_digest(*NODES["Trainer"].modules),
            },
            **fitting,
        ).with_id("Trainer")
    )
    exporter = add(Exporter(examples=examples, statistics=statistics, model=trainer.outputs["model"]))
    model = exporter.outputs["model"]
    if known_resolvers:
        blessed_model = add(
            Resolver(
                strategy_class=LatestBlessedModelStrategy,
                model=Channel(type=standard_artifacts.Model),
                model_blessing=Channel(type=standard_artifacts.ModelBlessing),
            ).with_id("BlessedModel")
        )
    else:
        blessed_model = add(
            _latest_other_blessed(
                model,
                standard_artifacts.ModelBlessing,
                id_property="current_model_id",
                pushed=Channel(type=standard_artifacts.PushedModel),
            ).with_id("BlessedModel")
        )
    infra_validator = add(InfraValidator(examples=examples, model=model))
    baseline = blessed_model.outputs["model" if known_resolvers else "subject"]
    bulk_inferrer = add(BulkInferrer(examples=examples, model=model, baseline_model=baseline))
    bulk_inferrer.add_upstream_node(infra_validator)
    evaluator = add(
        Evaluator(
            model=model,
            predictions=bulk_inferrer.outputs["predictions"],
            eval_config=eval_config(floors_in_force(config, dataset), config.accuracy_tolerance, spans=config.in_spans),
        )
    )
    add(
        VersionedPusher(
            model=model,
            model_blessing=evaluator.outputs["blessing"],
            infra_blessing=infra_validator.outputs["blessing"],
            name=model_name(config, dataset),
            keep=config.kept_versions,
            replace_other_classes=config.replace_other_classes,
            # A class that is new in a span was let in by name.
            classes_may_grow=config.in_spans,
            push=config.push,
        ).with_id("Pusher")
    )
    if odd := {node.id for node in nodes} ^ {node.id for node in NODES.values() if node.asked(config)}:
        raise ValueError(
            f"nodes {', '.join(sorted(odd))}: expected each with a record in pipeline/nodes.py and a line here, found "
            "one without the other."
        )
    if last_node is not None:
        nodes = nodes[: [node.id for node in nodes].index(last_node) + 1]
    for node in nodes:
        if isinstance(node, BaseComponent):
            # TFX's cache key lacks the code of a component; a property of the execution is part of the key.
            node.exec_properties["code_digest"] = code_digest(*NODES[node.id].modules)
    return Pipeline(
        pipeline_name=of_pipeline(pipeline_name(config, dataset), membership(root)),
        pipeline_root=str(root.artifacts.resolve()),
        components=nodes,
        enable_cache=config.enable_cache,
        metadata_connection_config=without_secret(connection_to(root)),
        beam_pipeline_args=list(beam_options(config)),
    )
