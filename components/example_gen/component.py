"""ExampleGen for images of any kind: reads a data set, writes it as Examples that describe themselves.

Synopsis:

    sizes, shards = (None, 5000, None), (4, 1, 2)         # of train, val and test; None as the data say
    split = SplitSettings(sizes=sizes, shards=shards, seed=42, stratified=True, encoding="tensor", compression="")
    example_gen = ImageExampleGen(dataset=inspect_dataset(data), split=split)
    example_gen.outputs["examples"]      # its custom properties are those of models.examples.Examples
"""

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components import places
from components.artifacts import Artifacts, describe_examples, single
from components.errors import InputError
from components.example_gen.dataset import Dataset
from components.example_gen.ingest import SplitSettings, write_examples
from components.example_gen.spans import Span
from components.properties import SPAN_NUMBER, SPAN_VERSION
from models.features import SPLITS


class _Executor(base_beam_executor.BaseBeamExecutor):
    """Unpacks the settings, calls `write_examples` and records what it wrote."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        artifact = single(output_dict, "examples")
        artifact.split_names = artifact_utils.encode_split_names(list(SPLITS))
        dataset = places.dataset(exec_properties["input_digest"])
        if dataset.unreadable:
            raise InputError(dataset.unreadable)
        settings = SplitSettings(**json.loads(exec_properties["split"]))
        with tempfile.TemporaryDirectory(dir=self._get_tmp_dir()) as scratch:
            examples = write_examples(dataset, settings, Path(artifact.uri), Path(scratch), self._make_beam_pipeline)
        examples_utils.set_payload_format(artifact, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
        describe_examples(artifact, examples)
        if dataset.span:
            artifact.set_int_custom_property(SPAN_NUMBER, dataset.span.number)
            artifact.set_int_custom_property(SPAN_VERSION, dataset.span.version)


class ImageExampleGenSpec(component_spec.ComponentSpec):
    """Interface of `ImageExampleGen`; every property is part of the cache key, and none is a path."""

    PARAMETERS = {
        "input_digest": component_spec.ExecutionParameter(type=str),
        "image_form": component_spec.ExecutionParameter(type=str),
        "class_names": component_spec.ExecutionParameter(type=str),
        "split": component_spec.ExecutionParameter(type=str),
        "span": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {}
    OUTPUTS = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}


def _place(span: Span) -> list:
    return [span.name, span.number, span.version, *([span.changes] if span.changes else [])]


class ImageExampleGen(base_beam_component.BaseBeamComponent):
    """Ingests a data set; see the module's docstring."""

    SPEC_CLASS = ImageExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(_Executor)

    def __init__(self, *, dataset: Dataset, split: SplitSettings) -> None:
        places.tell(dataset)
        super().__init__(
            ImageExampleGenSpec(
                input_digest=dataset.digest,
                image_form=json.dumps([*dataset.form, dataset.broken]),
                class_names=json.dumps([dataset.class_names, dataset.class_values]),
                split=json.dumps(dataclasses.asdict(split)),
                # The same images in two spans are two spans.
                span=json.dumps(_place(dataset.span) if dataset.span else []),
                examples=types.Channel(type=standard_artifacts.Examples),
            )
        )
