"""The data that a sweep trains on: those of a run up to Transform, from the cache where it has them.

Synopsis:

    data = prepare(settings, project)
    data.examples.counts["train"], data.mean.shape
"""

import dataclasses
from pathlib import Path

import numpy as np

from components.errors import PipelineError
from models.examples import Examples
from pipeline.metadata.store import Store
from pipeline.nodes import Selection
from pipeline.output_root import OutputRoot
from pipeline.run.run import run_pipeline
from pipeline.settings import Settings


class NoDataError(PipelineError):
    """The part of the pipeline that a sweep needs did not run to its end; it has told why."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """Examples and the statistics of their training split.

    Attributes:
      examples: the artifact.
      mean, variance: of each pixel, float64 [height, width, channels].
    """

    examples: Examples
    mean: np.ndarray
    variance: np.ndarray


def prepare(settings: Settings, project: Path) -> Data:
    """Runs the pipeline up to Transform and returns what it made.

    Raises:
      InputError: data or settings cannot be used.
      NoDataError: a node failed, or the gate refused.
    """
    status = run_pipeline(settings, project, Selection(to_node="Transform"))
    if status:
        raise NoDataError("no data to train on.")
    store = Store(OutputRoot(settings.config.output_root).metadata)
    made = {node["id"]: node["made"] for node in store.whole(store.runs()[-1]).record["nodes"]}
    number = made["ExampleGen"]["examples"]
    examples = Examples.open(store.artifacts[number].uri, store.properties("Artifact", number))
    from models.preprocessing import read_statistics

    graph = store.artifacts[made["Transform"]["transform_graph"]].uri
    mean, variance = read_statistics(graph, examples.image_shape, examples.encoding)
    return Data(examples=examples, mean=mean, variance=variance)
