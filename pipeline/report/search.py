"""What the report says of a search for hyperparameters: its trials, and what each setting did.

Synopsis:

    search(facts)                    # None, for these facts are of a run without a search
"""

from pipeline.metadata.show import varied
from pipeline.nodes import best_trial
from pipeline.report import plots
from pipeline.report.collect import Facts
from pipeline.run.outcome import NODE_RAN

# Of settings whose effect is drawn, and of trials that are listed: the page stays below its size.
_DRAWN, _LISTED = 9, 60


def search(facts: Facts) -> dict | None:
    """Returns the settings that were varied as `names`, the trials as `rows`, the best first, and pictures of both.

    `seconds` is what the Tuner took in this run, None where it did not run: trials go on side by side, and what an
    earlier search remembered takes no time, so that theirs do not add up to it.
    """
    found = facts.summary.get("search")
    if not found:
        return None
    trials = found["trials"]
    best, names = best_trial(trials), varied(trials)
    ranked = sorted(trials, key=lambda trial: -trial["val_accuracy"])
    return {
        "names": names,
        "rows": [
            {
                "trial": trial["trial"],
                "values": [trial["values"].get(name) for name in names],
                "accuracy": trial["val_accuracy"],
                "epochs": len(trial["curve"]),
                "stopped": trial["stopped"],
                "failed": trial.get("failed", ""),
                "seconds": trial["seconds"],
                "is_best": trial is best,
                "is_first": trial is trials[0],
            }
            for trial in ranked[:_LISTED]
        ],
        "count": len(trials),
        "given_up": sum(trial["stopped"] for trial in trials),
        "seconds": next((node.seconds for node in facts.nodes if (node.id, node.state) == ("Tuner", NODE_RAN)), None),
        "best": best,
        "first": trials[0],
        "curves": plots.trial_curves(trials, best),
        "effects": [plots.trial_values(trials, best, name) for name in names[:_DRAWN]],
    }
