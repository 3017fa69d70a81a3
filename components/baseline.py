"""Chooses the model that a candidate has to measure up to: the latest blessed one that is not the candidate itself.

TFX's own `LatestBlessedModelStrategy` would choose the candidate as soon as it has been blessed. A second run of the
same pipeline would then compare the model with itself, and the Evaluator could never be served from the cache.
"""

from tfx import types
from tfx.dsl.components.common import resolver

MODEL = "model"
BLESSING = "model_blessing"
CANDIDATE = "candidate"


class LatestOtherBlessedModel(resolver.ResolverStrategy):
    """Resolver strategy over the channels `model`, `model_blessing` and `candidate`."""

    def resolve_artifacts(
        self, store: object, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Returns the model and its blessing, or two empty lists where no other model is blessed."""
        candidates = {artifact.id for artifact in input_dict.get(CANDIDATE, [])}
        blessings = {
            blessing.get_int_custom_property("current_model_id"): blessing
            for blessing in sorted(input_dict.get(BLESSING, []), key=lambda artifact: artifact.id)
            if blessing.get_int_custom_property("blessed") == 1
        }
        # Of several blessed models the one whose blessing is the newest is the one that is served.
        blessed = [
            (blessings[model.id].id, model)
            for model in input_dict.get(MODEL, [])
            if model.id in blessings and model.id not in candidates
        ]
        if not blessed:
            return {MODEL: [], BLESSING: [], CANDIDATE: input_dict.get(CANDIDATE, [])}
        blessing_id, latest = max(blessed, key=lambda pair: pair[0])
        return {
            MODEL: [latest],
            BLESSING: [blessing for blessing in blessings.values() if blessing.id == blessing_id],
            CANDIDATE: input_dict.get(CANDIDATE, []),
        }
