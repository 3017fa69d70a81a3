"""What can come of a push, as words that artifacts and records keep; and what became of a model since.

Synopsis:

    made = {"serving_folder": str(base), "content_digest": acts(base)[-1].content, "outcome": PUSHED}
    became_of(made)["served_model"]
"""

from pathlib import Path

from components.pusher.history import acts, taken_back

PUSHED, SERVED_ALREADY, SERVED_AGAIN = "pushed", "served already", "served again"
TAKEN_BACK, HELD_BACK, NOT_BLESSED = "taken back", "held back", "not blessed"


def became_of(pushed: dict) -> dict:
    """Tells what became of a model by now: rollbacks, later pushes and those of a person count.

    Args:
      pushed: properties of a PushedModel, as the Pusher set them.

    Returns:
      `push`, one of the words above; `pushed_model`, the version that holds the model, under the number that is served
      if it is; and `served_model`, the version that is served. None where there is none.
    """
    base, content, outcome = Path(pushed["serving_folder"]), pushed["content_digest"], pushed["outcome"]
    shown = acts(base)
    served = shown[-1] if shown else None
    numbers = [act.number for act in shown if act.content == content]
    if outcome == NOT_BLESSED:
        numbers = []
    elif served and served.content == content:
        outcome = SERVED_ALREADY if outcome in (HELD_BACK, TAKEN_BACK) else outcome
    elif content in taken_back(shown):
        outcome = TAKEN_BACK
    return {
        "push": outcome,
        "pushed_model": str(base / str(numbers[-1])) if numbers else None,
        "served_model": str(base / str(served.number)) if served else None,
    }
