"""What the nights left, as tables."""

import statistics

from benchmarks.nights.playing import Morning, what_was_told
from benchmarks.report import table


def describe(mornings: list[Morning]) -> str:
    """Returns the table of the nights."""
    rows = [
        [
            morning.night.day,
            morning.night.what,
            morning.night.should,
            did(morning),
            morning.status,
            _percent(morning.accuracy),
            f"{morning.disk_mib:.0f}",
            f"{morning.seconds:.0f}",
        ]
        for morning in mornings
    ]
    header = ["night", "what arrives or happens", "should be", "was", "status", "served", "disk, MiB", "seconds"]
    return table(header, rows)


def compare(anew: list[Morning], warm: list[Morning]) -> str:
    """Returns the table of nights that trained anew beside the same ones that began with the served model."""
    rows = [
        [one.night.day, *(_percent(_accuracy(side)) for side in pair), *(f"{_training(side):.1f}" for side in pair)]
        for one, other in zip(anew, warm, strict=True)
        for pair in [(one, other)]
    ]
    # The first has nothing to begin with.
    means = [
        [statistics.mean(figure(morning) for morning in side[1:]) for side in (anew, warm)]
        for figure in (_accuracy, _training)
    ]
    rows.append(["mean of 2 and later", *map(_percent, means[0]), *(f"{mean:.1f}" for mean in means[1])])
    header = ["night", "test accuracy, anew", "warm start", "training, s, anew", "warm start"]
    return table(header, rows)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _accuracy(morning: Morning) -> float:
    return morning.runs[-1]["metrics"]["test_accuracy"]


def _training(morning: Morning) -> float:
    return next(node["seconds"] for node in morning.runs[-1]["nodes"] if node["id"] == "Trainer")


def did(morning: Morning) -> str:
    told = []
    for run in morning.runs:
        name = run["span"]["name"] if run["span"] else ""
        if run["state"] in ("data refused", "failed"):
            lines = what_was_told(run)
            reason = next((line for line in lines if line.startswith("error")), lines[0])
            told.append(f"{name} {run['state']}: {reason.removeprefix('error: ')}")
        elif run["window"]:
            window = run["window"]
            told.append(f"trained on {len(window)} spans, {run['push'] or run['state']}")
    told += [f"ODD: {line}" for line in morning.odd]
    return "; ".join(told) or ("killed" if morning.status < 0 else "nothing new")
