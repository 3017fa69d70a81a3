"""The trainings of a sweep, on the data of a run up to Transform, which the cache has where nothing changed.

Synopsis:

    data = prepare(settings, project)
    for outcome in trainings(data, settings.config, [(settings.config, 42)], side_by_side=2):
        print(outcome.val_accuracy)
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from components.errors import PipelineError
from models.examples import Examples
from models.features import TRAIN
from models.memory import MIB, budget_bytes
from models.precision import resolve_precision
from models.preprocessing import read_statistics
from models.trials import Outcome, Trial, Trials
from pipeline.config import PipelineConfig
from pipeline.metadata.store import Store
from pipeline.nodes import Selection
from pipeline.output_root import OutputRoot
from pipeline.run.code_digest import code_digest
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

    @property
    def disk_mib(self) -> float:
        """Of the shards of the training split."""
        return sum(shard.stat().st_size for shard in self.examples.shards(TRAIN)) / MIB


def prepare(settings: Settings, project: Path) -> Data:
    """Runs the pipeline up to Transform and returns what it made.

    Raises:
      InputError: data or settings cannot be used.
      NoDataError: a node failed, or the gate refused.
    """
    # Of data in spans, those that an earlier run took up.
    first = "Spans" if settings.config.in_spans else None
    # As it is, without what follows on the end of a run (metrics, `on_end`): this is the beginning of a sweep.
    run = run_pipeline.__wrapped__
    status = run(settings, project, Selection(from_node=first, to_node="Transform"))
    if status:
        raise NoDataError("no data to train on.")
    store = Store(OutputRoot(settings.config.output_root).metadata)
    made = {node["id"]: node["made"] for node in store.whole(store.runs()[-1]).record["nodes"]}
    number = made["Window" if first else "ExampleGen"]["examples"]
    examples = Examples.open(store.artifacts[number].uri, store.properties("Artifact", number))
    graph = store.artifacts[made["Transform"]["transform_graph"]].uri
    mean, variance = read_statistics(graph, examples.image_shape)
    return Data(examples=examples, mean=mean, variance=variance)


def trainings(
    data: Data,
    base: PipelineConfig,
    asked: Sequence[tuple[PipelineConfig, int]],
    side_by_side: int,
    *,
    measured: bool = False,
) -> Iterator[Outcome]:
    """Yields what came of trainings, each of a configuration and a seed, in their order.

    Args:
      data: that they are trained on.
      base: where what is remembered lies, and the budget.
      asked: the trainings.
      side_by_side: how many at the same time.
      measured: whether the input pipeline is measured too.
    """
    recipes = [
        dataclasses.replace(config.training, precision=resolve_precision(config.training.precision))
        for config, _ in asked
    ]
    with Trials(
        data.examples,
        mean=data.mean,
        variance=data.variance,
        folder=OutputRoot(base.output_root).trials,
        code=code_digest("models.trials"),
        memory=budget_bytes(base.memory_mib),
        processes=side_by_side,
        measured=measured,
    ) as trials:
        yield from trials.run([Trial(recipe, seed) for recipe, (_, seed) in zip(recipes, asked, strict=True)])
