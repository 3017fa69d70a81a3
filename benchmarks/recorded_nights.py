"""Writes nights as the pipeline records them, without running anything: for tests and benchmark of the page of all.

Only the records: no executions, no artifacts. Data come in spans; every few nights something is amiss.

Synopsis:

    record_nights(tmp_path / "nights", 3)
"""

import contextlib
import datetime
import json
import random
import sqlite3
from pathlib import Path

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from models.card import CARD_FILE
from pipeline.output_root import OutputRoot
from pipeline.run.record import RunRecord, properties_of, set_property

NAME = "garments"
_FIRST = datetime.datetime(2026, 1, 1, 3, 10)
_KEPT = 5
REASON = "accuracy (overall): expected at least 0.8500, found 0.8110"
REFUSAL = "error: train: image_mean: is 182.1, expected 40 to 110 (in the spans before: 72.9)"
WARNING = "warning: train: image_mean: 6.1 above that of the spans before"
FAILURE = "incoming/span-7/train/0012.png: cannot be read, 12 of 2,048 bytes. Replace it, or leave it out."


def states(number: int) -> str:
    """Returns what happens in a night: "refused", "not blessed", "failed", "interrupted", "warned" or "blessed"."""
    amiss = {5: "refused", 11: "not blessed", 7: "failed", 17: "interrupted", 15: "warned", 16: "warned"}
    return amiss.get(number % 20, "blessed")


def record_nights(
    output_root: Path, nights: int, *, classes: int = 10, examples: int = 1000, spans: bool = True
) -> list[str]:
    """Writes that many nights below a new output root and returns the ids of the runs.

    Args:
      output_root: a folder that is there or not.
      nights: number of runs.
      classes: of the images.
      examples: in test.
      spans: whether data come in spans; else the same data set is taken up each night.
    """
    root, chance = OutputRoot(output_root), random.Random(7)
    output_root.mkdir(parents=True, exist_ok=True)
    connection = mlmd.ConnectionConfig()
    connection.sqlite.filename_uri = str(root.metadata)
    connection.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    store = metadata_store.MetadataStore(connection)
    kind = store.put_context_type(mlmd.ContextType(name="pipeline_run"))
    found, pushed = [], []
    for number in range(nights):
        begun = _FIRST + datetime.timedelta(days=number, seconds=7 * number % 60)
        content = _content(begun, number, classes, examples, chance, spans=spans)
        if content["blessed"]:
            version = int(begun.timestamp()) + 60
            content |= {"push": "pushed", "pushed_model": str(root.serving(NAME) / str(version))}
            content["model_digest"] = f"content {version}"
            pushed.append(version)
        context = mlmd.Context(type_id=kind, name=content["run_id"])
        context.create_time_since_epoch = int(begun.timestamp() * 1000)
        for name, value in {**properties_of(content), "note": _note(number), "tags": _tags(number)}.items():
            if value:
                set_property(context.custom_properties[name], value)
        found.append(context)
        folder = root.make_run(content["run_id"])
        # Retention took the folders of older ones.
        if nights - number < 200:
            folder.report.write_text("<!doctype html><title>a report</title>")
    store.put_contexts(found)
    # ML Metadata notes the time of the call.
    with contextlib.closing(sqlite3.connect(root.metadata)) as connection:
        times = [(context.create_time_since_epoch, context.name) for context in found]
        connection.executemany("UPDATE Context SET create_time_since_epoch = ? WHERE name = ?", times)
        connection.commit()
    for version in pushed[-_KEPT:]:
        card = root.serving(NAME) / str(version) / CARD_FILE
        card.parent.mkdir(parents=True)
        card.write_text(json.dumps({"digest": f"content {version}"}))
    return [context.name for context in found]


def roll_back(output_root: Path) -> int:
    """Serves the version before again, a minute after the last, and returns its number."""
    base = OutputRoot(output_root).serving(NAME)
    *_, before, last = sorted(int(path.name) for path in base.iterdir() if path.name.isdecimal())
    (base / str(last + 60)).symlink_to(str(before))
    return before


def _content(
    begun: datetime.datetime, number: int, classes: int, examples: int, chance: random.Random, *, spans: bool
) -> dict:
    state = states(number)
    run_id = f"{begun:%Y%m%d-%H%M%S}-000"
    opening = {"run_id": run_id, "preset": "fast", "seed": 42, "name": NAME, "published_as": NAME, "environment": {}}
    kept = RunRecord(OutputRoot("unused").run(run_id), None, {**opening, "provenance": {"settings": {"seed": 42}}})
    content = kept.content
    content |= {"wall_seconds": chance.uniform(70, 95), "blessed": None}
    content["disk_bytes"] = int(2**20 * (180 + 60 * min(number, 10) + chance.uniform(0, 25)))
    mean = 72.9 + chance.gauss(0, 0.6) + (1.2 * (number % 20 - 13) if 13 < number % 20 < 18 else 0)
    images = 1200
    labels = {f"class {n}": int(images / classes * chance.uniform(0.85, 1.15)) for n in range(classes)}
    if state == "refused":
        mean = 182.1
        labels["class 3"] *= 2
    content["data"] |= {
        "digest": f"{number if spans else 0:064x}",
        "splits": {"train": images - 200, "val": 100, "test": 100},
    }
    content["data"] |= {"labels": labels, "pixels": {"mean": mean, "std": 90 + chance.gauss(0, 0.4)}}
    if spans:
        named = {"name": str(number + 1), "number": number + 1, "version": 0}
        content["span"] = {**named, "pattern": "incoming/span-{SPAN}", "admitted": number % 20 == 6}
        content["window"] = [
            {"name": str(n), "number": n, "version": 0, "examples": 1} for n in range(max(1, number - 5), number + 2)
        ]
    gate = {"result": "passed", "reasons": [WARNING] if state == "warned" else ["no anomaly"]}
    if state in ("blessed", "warned", "not blessed"):
        center = 0.93 - 0.05 * 0.9**number if state != "not blessed" else 0.811
        right = sum(chance.random() < center for _ in range(examples))
        content["metrics"] = {"test_accuracy": right / examples, "test_loss": 0.2, "examples": examples}
        content["blessed"] = state != "not blessed"
        content["blessing_reasons"] = [] if content["blessed"] else [REASON]
    status = {"refused": 3, "not blessed": 4, "failed": 2, "interrupted": None}.get(state, 0)
    if state == "refused":
        gate = {
            "result": "refused",
            "reasons": ["the data gate refuses the data:", REFUSAL, f"error: train: label: {'x' * 400}"],
        }
        content["failure"] = {"node": "DataGate", "message": "\n".join(gate["reasons"]), "exit_status": 3}
    if state == "failed":
        content["failure"] = {"node": "ExampleGen", "message": FAILURE, "exit_status": 2}
    content["gates"] = {"DataGate": gate} if state != "failed" else {}
    told = {"refused": "data refused", "warned": "done", "blessed": "done"}
    return content | {"exit_status": status, "state": told.get(state, state)}


def _note(number: int) -> str:
    return "the camera was cleaned" if number % 9 == 4 else ""


def _tags(number: int) -> str:
    return json.dumps(["camera 2", "checked"]) if number % 9 == 4 else ""
