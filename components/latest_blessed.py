"""Chooses what a candidate has to measure up to: what is served, or else the latest blessed one that is not itself.

TFX's own `LatestBlessedModelStrategy` would choose the candidate as soon as it has been blessed. A second run of the
same pipeline would then compare the model with itself, and the Evaluator could never be served from the cache. And it
would choose a model that a rollback has taken back.

Synopsis:

    Resolver(
        strategy_class=LatestOtherBlessed,
        config={"id_property": "current_model_id"},
        subject=Channel(type=Model), blessing=Channel(type=ModelBlessing), candidate=exporter.outputs["model"],
        pushed=Channel(type=PushedModel),
    ).outputs["subject"]
"""

from tfx import types
from tfx.dsl.components.common import resolver
from tfx.dsl.io import fileio

from components.pusher.history import push_order

SUBJECT, BLESSING, CANDIDATE, PUSHED = "subject", "blessing", "candidate", "pushed"
# Of a PushedModel: the id of the model that it shows.
MODEL_ID = "model_id"


class LatestOtherBlessed(resolver.ResolverStrategy):
    """Resolver strategy over the channels `subject`, `blessing`, `candidate` and, for what is published, `pushed`.

    Attributes:
      id_property: the property of a blessing that holds the id of what it blesses.
    """

    def __init__(self, id_property: str) -> None:
        self._id_property = id_property

    def resolve_artifacts(
        self, store: object, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Returns the channels; `subject` and `blessing` have one artifact each, or none where no other is blessed."""
        candidates = input_dict.get(CANDIDATE, [])
        excluded = {artifact.id for artifact in candidates}
        # What was deleted from disk cannot be compared with.
        subjects = {artifact.id: artifact for artifact in input_dict.get(SUBJECT, []) if fileio.exists(artifact.uri)}
        served = next(
            (
                artifact.get_int_custom_property(MODEL_ID)
                for artifact in sorted(input_dict.get(PUSHED, []), key=order_of_push, reverse=True)
                if artifact.get_int_custom_property("pushed") == 1
            ),
            None,
        )
        # What was blessed last comes first, even if something older than the others was blessed again.
        blessings = _newest_first(input_dict.get(BLESSING, []))
        blessed = [
            (subjects[number], blessing)
            for blessing in blessings
            if blessing.get_int_custom_property("blessed") == 1
            and (number := blessing.get_int_custom_property(self._id_property)) in subjects.keys() - excluded
        ]
        if served in excluded:
            # What is served again must not be judged by what a rollback took back: by what was blessed before it.
            own = [b.id for b in blessings if b.get_int_custom_property(self._id_property) == served]
            blessed = [pair for pair in blessed if pair[1].id < max(own, default=0)]
        blessed.sort(key=lambda pair: pair[0].id != served)
        rest = {name: [] for name in (PUSHED,) if name in input_dict} | {CANDIDATE: candidates}
        if not blessed:
            return {SUBJECT: [], BLESSING: [], **rest}
        subject, blessing = blessed[0]
        return {SUBJECT: [subject], BLESSING: [blessing], **rest}


def order_of_push(pushed: types.Artifact) -> tuple[int, int]:
    """Returns by what PushedModels are sorted, the one that is served last."""
    return push_order(pushed.get_string_custom_property("pushed_version"), pushed.id)


def _newest_first(artifacts: list[types.Artifact]) -> list[types.Artifact]:
    return sorted(artifacts, key=lambda artifact: artifact.id, reverse=True)
