"""How a run ended: its state and exit status, from its record alone.

Synopsis:

    exit_status_of(content), state_of(content)      # 4, "not blessed"
"""

import re

from components.errors import InputError, PipelineError, refused_by_disk
from components.pusher.outcomes import HELD_BACK
from models.errors import ArtifactError, TrainingDivergedError

WAITING, RUNNING, INTERRUPTED, FAILED = "waiting", "running", "interrupted", "failed"
NODE_RAN, NODE_CACHED, NODE_FAILED, NODE_SKIPPED = "ran", "cached", "failed", "skipped"
# Of a gate.
PASSED, REFUSED = "passed", "refused"
NOT_BLESSED = 4
_STATES = {0: "done", 3: "data refused", NOT_BLESSED: "not blessed"}
# All that a run can be in.
STATES = (RUNNING, *_STATES.values(), FAILED, INTERRUPTED)


def exit_status_of(content: dict) -> int:
    """Returns the exit status of a run whose nodes have ended.

    Part of the DAG may hold no Evaluator; then the status is 4 only when the Pusher was to push and the model was not
    blessed by the earlier run.
    """
    if content["failure"]:
        return content["failure"]["exit_status"]
    states = {node["id"]: node["state"] for node in content["nodes"]}
    unpushed = states.get("Pusher") in (NODE_RAN, NODE_CACHED) and content["pushed_model"] is None
    held = content.get("push") == HELD_BACK
    return NOT_BLESSED if content["blessed"] is False or (unpushed and not held) else 0


def state_of(content: dict) -> str:
    """Returns "done", "not blessed", "data refused", "failed" or "interrupted"; without an exit status, the last."""
    if content["exit_status"] is None:
        return INTERRUPTED
    return _STATES.get(content["exit_status"], FAILED)


def describe_failure(error: BaseException) -> tuple[str, int]:
    """Returns what to tell of a node's failure, and the exit status."""
    if isinstance(error, PipelineError | ArtifactError | TrainingDivergedError):
        # Beam names its step behind the message of what a worker raised.
        return re.sub(r" \[while running '[^']*'\]$", "", str(error)), getattr(error, "exit_status", 2)
    if line := refused_by_disk(error):
        return line, InputError.exit_status
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    # What Keras and AutoGraph raise begins with a traceback of its own.
    text = lines[-1] if lines[0] == "in user code:" else lines[0]
    return f"{type(error).__name__}: {text}", 1
