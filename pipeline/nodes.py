"""The nodes of the DAG, in the order in which create_pipeline lists them, and which part of it a run takes.

Synopsis:

    Selection(from_node="Trainer")      # the Trainer and all that depends on it, on earlier outputs
"""

import dataclasses

from components.errors import InputError

# The module of this project whose source a node depends on; None for what is TFX's own.
NODES = {
    "ExampleGen": "components.example_gen",
    "StatisticsGen": "components.statistics_gen",
    "SchemaGen": "components.schema_gen",
    "ExampleValidator": None,
    "AcceptedData": "components.baseline",
    "DataGate": "components.data_gate",
    "Transform": "models.preprocessing",
    "Trainer": "components.trainer",
    "Canary": "components.canary",
    "Predictor": "components.predictions",
    "BlessedModel": "components.baseline",
    "Evaluator": "components.evaluator",
    "Pusher": "components.pusher",
}


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
