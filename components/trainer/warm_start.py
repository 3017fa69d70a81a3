"""Chooses what a warm start begins with: what the Trainer learned of which the served model was made. A resolver.

A model that was trained on the examples at hand is none: the run that made it would begin with itself the next time,
and never be served from the cache.

Synopsis:

    LatestServedTraining().resolve_artifacts(None, {"candidate": [artifact]})["model"]      # [] where nothing is served
"""

from tfx import types
from tfx.dsl.components.common import resolver
from tfx.dsl.io import fileio

from components.latest_blessed import CANDIDATE, MODEL_ID, PUSHED, order_of_push
from components.properties import EXAMPLES_ID, TRAINED_ID

MODEL = "model"
_Artifacts = dict[str, list[types.Artifact]]


class LatestServedTraining(resolver.ResolverStrategy):
    """Resolver strategy over `model`, `pushed` and `candidate`, the examples that are to be trained on."""

    def resolve_artifacts(self, store: object, input_dict: _Artifacts) -> _Artifacts:
        """Returns the channels; `model` has what was learned for the served model, or nothing where there is none."""
        own = {found.id for found in input_dict.get(CANDIDATE, [])}
        models = {found.id: found for found in input_dict.get(MODEL, [])}
        acts = [
            models[number]
            for pushed in sorted(input_dict.get(PUSHED, []), key=order_of_push)
            if pushed.get_int_custom_property("pushed") == 1
            and (number := pushed.get_int_custom_property(MODEL_ID)) in models
        ]
        found = []
        while acts and not found:
            exported = acts.pop()
            trained = models.get(exported.get_int_custom_property(TRAINED_ID))
            if exported.get_int_custom_property(EXAMPLES_ID) in own:
                # As it was when this one was made: what was pushed since, a rollback may have taken back.
                numbers = [act.id for act in acts]
                acts = acts[: numbers.index(exported.id)] if exported.id in numbers else acts
            elif trained is not None and fileio.exists(trained.uri):
                found = [trained]
        return {MODEL: found, PUSHED: [], CANDIDATE: input_dict.get(CANDIDATE, [])}
