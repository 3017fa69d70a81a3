"""The DAG, in the order in which it runs.

ExampleGen -> StatisticsGen -> SchemaGen -> ExampleValidator
    |               |              |               |
    |               +-> AcceptedData -> DataGate <-+     AcceptedData: the latest other data that passed (a Resolver)
    |                              |        |
    +--------> Transform <---------+--------+
    |              |
    +--------> Trainer -------> BlessedModel             BlessedModel: the latest other blessed model (a Resolver)
    |              |                 |
    +--------> Canary                |                   Canary: can it be served at all
    |              |                 |
    +--------> Predictor             |
    |              |                 |
    +--------> Evaluator <-----------+
                   |
                Pusher <- Canary
"""

import dataclasses

from ml_metadata.proto import metadata_store_pb2

# Not `from tfx import v1`: that imports Google Cloud's AI platform, a fifth of the whole start-up.
from tfx.components import ExampleValidator, Transform
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import trainer_pb2, transform_pb2
from tfx.types import Channel, standard_artifacts

from components.baseline import LatestOtherBlessed
from components.canary import Canary
from components.data_gate import DataBlessing, DataGate
from components.dataset import Dataset
from components.evaluator import ReportingEvaluator
from components.example_gen import IdxExampleGen, SplitSettings
from components.predictions import Predictor
from components.pusher import VersionedPusher
from components.schema_gen import ImageSchemaGen
from components.statistics_gen import ImageStatisticsGen
from components.trainer import ReportingTrainer
from models.features import TEST, TRAIN, VAL
from pipeline.code_digest import ROOT, code_digest
from pipeline.config import PipelineConfig
from pipeline.evaluation import eval_config
from pipeline.nodes import NODES

FASHION_MNIST_SCHEMA = ROOT / "schema" / "fashion_mnist.pbtxt"

# FnApiRunner is the in-process direct runner. `--runner=DirectRunner` would try a Prism binary from the network first.
# Naming a container image keeps TFX from building an sdist of itself for every Beam executor.
BEAM_ARGS = ["--runner=FnApiRunner", "--sdk_container_image=none"]


def pipeline_name(dataset: Dataset) -> str:
    """Returns the name under which ML Metadata keeps the runs on a kind of data.

    Models and statistics are compared within one name only: those of other shapes or classes cannot be.
    """
    shape = "x".join(map(str, dataset.image_shape))
    return f"{dataset.name}-{shape}-{len(dataset.class_names)}"


def curated_schema(dataset: Dataset) -> str:
    """Returns the text of the schema that the data must fit, "" to take the one inferred from the training split."""
    return dataset.schema or (FASHION_MNIST_SCHEMA.read_text() if dataset.is_fashion_mnist else "")


def _connection(config: PipelineConfig) -> metadata_store_pb2.ConnectionConfig:
    """Returns how ML Metadata is reached; TFX's own function would make the folder, even for a dry run."""
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(config.metadata_path.resolve())
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return connection


def create_pipeline(config: PipelineConfig, dataset: Dataset, last_node: str = "Pusher") -> Pipeline:
    """Returns the TFX pipeline for a configuration and the data set it reads, up to and including `last_node`."""
    example_gen = IdxExampleGen(
        dataset=dataset,
        split=SplitSettings(
            sizes=config.split_sizes,
            shards=config.shards,
            seed=config.seed,
            stratified=config.stratified,
            encoding=config.image_encoding,
            compression=config.compression,
        ),
    ).with_id("ExampleGen")
    examples = example_gen.outputs["examples"]
    statistics_gen = ImageStatisticsGen(examples=examples).with_id("StatisticsGen")
    schema_gen = ImageSchemaGen(
        statistics=statistics_gen.outputs["statistics"],
        class_count=len(dataset.class_names),
        curated=curated_schema(dataset),
    ).with_id("SchemaGen")
    example_validator = ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    accepted_data = Resolver(
        strategy_class=LatestOtherBlessed,
        config={"id_property": "current_statistics_id"},
        subject=Channel(type=standard_artifacts.ExampleStatistics),
        blessing=Channel(type=DataBlessing),
        candidate=statistics_gen.outputs["statistics"],
    ).with_id("AcceptedData")
    data_gate = DataGate(
        examples=examples,
        statistics=statistics_gen.outputs["statistics"],
        schema=schema_gen.outputs["schema"],
        anomalies=example_validator.outputs["anomalies"],
        accepted_statistics=accepted_data.outputs["subject"],
        severity=config.gate_severity,
    )
    transform = Transform(
        examples=examples,
        schema=schema_gen.outputs["schema"],
        preprocessing_fn="models.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=[TRAIN], transform=[]),
        materialize=False,
        disable_statistics=True,
        disable_analyzer_cache=True,
        custom_config={"image_shape": list(dataset.image_shape), "image_encoding": config.image_encoding},
    )
    transform.add_upstream_node(data_gate)
    trainer = ReportingTrainer(
        run_fn="models.trainer.run_fn",
        examples=examples,
        transform_graph=transform.outputs["transform_graph"],
        train_args=trainer_pb2.TrainArgs(splits=[TRAIN]),
        eval_args=trainer_pb2.EvalArgs(splits=[VAL]),
        custom_config={
            "seed": config.seed,
            "image_shape": list(dataset.image_shape),
            "class_names": list(dataset.class_names),
            "training": dataclasses.asdict(config.training),
            "checkpoint_dir": str(config.checkpoint_dir.resolve()),
            "code_digest": code_digest("components.trainer"),
        },
    ).with_id("Trainer")
    blessed_model = Resolver(
        strategy_class=LatestOtherBlessed,
        config={"id_property": "current_model_id"},
        subject=Channel(type=standard_artifacts.Model),
        blessing=Channel(type=standard_artifacts.ModelBlessing),
        candidate=trainer.outputs["model"],
    ).with_id("BlessedModel")
    canary = Canary(examples=examples, model=trainer.outputs["model"])
    predictor = Predictor(examples=examples, model=trainer.outputs["model"])
    predictor.add_upstream_node(canary)
    evaluator = ReportingEvaluator(
        examples=examples,
        example_splits=[TEST],
        model=trainer.outputs["model"],
        baseline_model=blessed_model.outputs["subject"],
        eval_config=eval_config(config),
    ).with_id("Evaluator")
    evaluator.add_upstream_node(canary)
    pusher = VersionedPusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=canary.outputs["blessing"],
        destination=str(config.serving_dir(dataset.name).resolve()),
        keep=config.kept_versions,
    ).with_id("Pusher")
    nodes = [
        example_gen,
        statistics_gen,
        schema_gen,
        example_validator,
        accepted_data,
        data_gate,
        transform,
        trainer,
        canary,
        predictor,
        blessed_model,
        evaluator,
        pusher,
    ]
    nodes = nodes[: [node.id for node in nodes].index(last_node) + 1]
    for node in nodes:
        if isinstance(node, BaseComponent):
            # TFX's cache key lacks the code of a component; a property of the execution is part of the key.
            module = NODES[node.id]
            node.exec_properties["code_digest"] = code_digest(*([module] if module else []))
    return Pipeline(
        pipeline_name=pipeline_name(dataset),
        pipeline_root=str(config.artifacts_root.resolve()),
        components=nodes,
        enable_cache=config.enable_cache,
        metadata_connection_config=_connection(config),
        beam_pipeline_args=BEAM_ARGS,
    )
