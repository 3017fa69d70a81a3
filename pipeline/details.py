"""What a node made, in a few words for its line on the console.

Synopsis:

    describe("ExampleGen", {"examples": {"counts": '{"train": 3, "test": 1}'}})     # "4 examples"
"""

import json

_Properties = dict[str, object]


def describe(node: str, artifacts: dict[str, _Properties]) -> str:
    """Returns what `node` made, "" where nobody has said how to tell it.

    Args:
      node: its id.
      artifacts: the custom properties of the artifacts that it put out, by key.
    """
    tell = _TELLERS.get(node)
    if tell is None:
        return ""
    try:
        return tell(artifacts)
    except (AttributeError, KeyError, TypeError, ValueError):
        # An artifact from the cache may be older than the property, and no detail is worth a failed run.
        return ""


def _examples(artifacts: dict[str, _Properties]) -> str:
    return f"{sum(json.loads(artifacts['examples']['counts']).values()):,} examples"


def _anomalies(artifacts: dict[str, _Properties]) -> str:
    fits = dict(artifacts["anomalies"]["blessed"])
    return f"{sum(fits.values()):.0f} of {len(fits)} splits without anomalies"


def _data_gate(artifacts: dict[str, _Properties]) -> str:
    return f"passed, {artifacts['blessing']['warnings']} warnings"


def _training(artifacts: dict[str, _Properties]) -> str:
    training = json.loads(artifacts["model_run"]["training"])
    return f"{training['val_accuracy']:.2%} validation, {training['epochs']} epochs".replace("%", " %")


def _canary(artifacts: dict[str, _Properties]) -> str:
    measured = json.loads(artifacts["blessing"]["measured"])
    return f"served {measured['examples']:,} images, {measured['litert_disagreements']} otherwise by LiteRT"


def _predictions(artifacts: dict[str, _Properties]) -> str:
    return f"{artifacts['predictions']['examples']:,} predictions"


def _evaluation(artifacts: dict[str, _Properties]) -> str:
    word = "blessed" if artifacts["blessing"]["blessed"] else "not blessed"
    return f"{word}, {artifacts['evaluation']['test_accuracy']:.2%} test".replace("%", " %")


def _push(artifacts: dict[str, _Properties]) -> str:
    pushed = artifacts["pushed_model"]
    return f"version {pushed['pushed_version']}" if pushed["pushed"] else "not pushed"


def _resolved(artifacts: dict[str, _Properties]) -> str:
    return f"artifact {artifacts['subject']['id']}" if "subject" in artifacts else "none yet"


_TELLERS = {
    "ExampleGen": _examples,
    "ExampleValidator": _anomalies,
    "AcceptedData": _resolved,
    "DataGate": _data_gate,
    "Trainer": _training,
    "Canary": _canary,
    "Predictor": _predictions,
    "BlessedModel": _resolved,
    "Evaluator": _evaluation,
    "Pusher": _push,
}
