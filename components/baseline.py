"""Chooses what a candidate has to measure up to: the latest blessed artifact of its kind that is not itself.

TFX's own `LatestBlessedModelStrategy` would choose the candidate as soon as it has been blessed. A second run of the
same pipeline would then compare the model with itself, and the Evaluator could never be served from the cache.

Synopsis:

    Resolver(
        strategy_class=LatestOtherBlessed,
        config={"id_property": "current_model_id"},
        subject=Channel(type=Model), blessing=Channel(type=ModelBlessing), candidate=trainer.outputs["model"],
    ).outputs["subject"]
"""

from tfx import types
from tfx.dsl.components.common import resolver
from tfx.dsl.io import fileio

SUBJECT, BLESSING, CANDIDATE = "subject", "blessing", "candidate"


class LatestOtherBlessed(resolver.ResolverStrategy):
    """Resolver strategy over the channels `subject`, `blessing` and `candidate`.

    Attributes:
      id_property: the property of a blessing that holds the id of what it blesses.
    """

    def __init__(self, id_property: str) -> None:
        self._id_property = id_property

    def resolve_artifacts(
        self, store: object, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Returns the channels, `subject` and `blessing` with one artifact each, or empty where no other is blessed."""
        candidates = input_dict.get(CANDIDATE, [])
        excluded = {artifact.id for artifact in candidates}
        # What was deleted from disk cannot be compared with.
        subjects = {artifact.id: artifact for artifact in input_dict.get(SUBJECT, []) if fileio.exists(artifact.uri)}
        # What was blessed last is what is in use, even if something older than the others was blessed again.
        newest_first = sorted(input_dict.get(BLESSING, []), key=lambda artifact: artifact.id, reverse=True)
        for blessing in newest_first:
            subject = subjects.get(blessing.get_int_custom_property(self._id_property))
            if blessing.get_int_custom_property("blessed") == 1 and subject and subject.id not in excluded:
                return {SUBJECT: [subject], BLESSING: [blessing], CANDIDATE: candidates}
        return {SUBJECT: [], BLESSING: [], CANDIDATE: candidates}
