"""Runs that have ended, as their summaries tell them: for what reads nothing else."""

import json
from pathlib import Path

from models.card import CARD_FILE
from pipeline.output_root import OutputRoot, RunFolder

DIGEST = "d" * 64
NODES = ("ExampleGen", "DataGate", "Trainer", "Evaluator", "Pusher")


def write_run(root: OutputRoot, run_id: str, **changes: object) -> RunFolder:
    """Writes summary, report and log of a run that went well, but for `changes` of its summary."""
    content = {
        "run_id": run_id,
        "preset": "smoke",
        "name": "letters",
        "published_as": "letters.smoke",
        "state": "done",
        "exit_status": 0,
        "wall_seconds": 61.5,
        "peak_rss_mib": 1000,
        "failure": None,
        "nodes": [{"id": node, "state": "ran", "seconds": number + 0.5} for number, node in enumerate(NODES)],
        "gates": {"DataGate": {"result": "passed", "reasons": ["warning: val: image: mean drifts"]}},
        "data": {"digest": "a" * 64, "splits": {"train": 4000, "val": 500, "test": 1000}},
        "metrics": {"test_accuracy": 0.885, "test_loss": 0.36, "macro_f1": 0.88, "confusion_matrix": [[1]]},
        "blessed": True,
        "push": "pushed",
        "model_digest": DIGEST,
        "served_model": str(root.serving("letters.smoke") / "1795464417"),
        "training": {"history": [{"epoch": n, "loss": 1 / n, "val_accuracy": 0.8 + n / 100} for n in (1, 2)]},
        "provenance": {
            "settings": {"seed": 42, "training": {"epochs": 2}, "floors": {"accuracy@class=Bag": 0.3}},
            "git": {"revision": "97a448a", "clean": True, "missing": None},
        },
        **changes,
    }
    made = root.make_run(run_id)
    made.summary.write_text(json.dumps(content))
    made.report.write_text("<html></html>")
    made.log.write_text("")
    return made


def refusal(root: OutputRoot, run_id: str, **changes: object) -> RunFolder:
    """Writes a run whose data the gate refused."""
    reasons = ["the data gate refuses the data:", "error: test: all examples: is wrong", "warning: val: label: drifts"]
    return write_run(
        root,
        run_id,
        **{
            "state": "data refused",
            "exit_status": 3,
            "metrics": None,
            "blessed": None,
            "training": None,
            "model_digest": None,
            "gates": {"DataGate": {"result": "refused", "reasons": reasons}},
            "failure": {"node": "DataGate", "message": "\n".join(reasons), "exit_status": 3},
            **changes,
        },
    )


def serve(root: OutputRoot, version: int, digest: str = DIGEST) -> Path:
    """Writes a version of the model of `write_run` into the serving folder, as far as its card."""
    card = root.serving("letters.smoke") / str(version) / CARD_FILE
    card.parent.mkdir(parents=True)
    card.write_text(json.dumps({"digest": digest}))
    return card
