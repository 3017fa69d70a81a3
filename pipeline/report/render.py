"""Turns the facts of a run into one HTML file that needs nothing else.

Synopsis:

    write_report(OutputRoot("output"), "latest")      # runs/<id>/report.html
"""

import datetime
from pathlib import Path

import jinja2

from models.features import TEST
from models.files import write_text
from models.profile_report import INPUT_SHARE_LIMIT
from pipeline.metadata.text import flatten
from pipeline.output_root import OutputRoot, writing
from pipeline.report import plots
from pipeline.report.collect import ERROR_IMAGES, SAMPLED_RECORDS, Facts, collect
from pipeline.report.dag import draw
from pipeline.report.formats import count, counted, figure, percent, seconds
from pipeline.report.images import Sprite
from pipeline.report.predictions import (
    Predictions,
    cell_examples,
    confusion_matrix,
    most_confident_errors,
    quality_by_slice,
    reliability,
    shown_classes,
)
from pipeline.report.search import search
from pipeline.report.sections import (
    class_counts,
    compare,
    gates,
    headline,
    kept_provenance,
    logged,
    loss,
    provenance,
    rest_seconds,
)
from pipeline.run.outcome import NODE_CACHED, NODE_RAN

_FEATURES = (("image_mean", "mean grey level"), ("image_stddev", "standard deviation of the grey levels"))
_FEATURE_NAMES = {
    **dict(_FEATURES),
    "image_height": "height",
    "image_width": "width",
    "image_channels": "channels",
    "image_black": "share of black pixels",
    "image_saturated": "share of saturated pixels",
}


def write_report(root: OutputRoot, run: str) -> Path:
    """Writes the report of a run below its output root and returns its path.

    Raises:
      InputError: there is no such run, or the report cannot be written.
    """
    facts = collect(root, run)
    folder, text = root.run(facts.run.id), render(facts)
    with writing(folder.report):
        folder.folder.mkdir(parents=True, exist_ok=True)
        write_text(folder.report, text)
    return folder.report


def render(facts: Facts) -> str:
    """Returns the report as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,  # an older run's summary lacks what came later
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "seconds": seconds,
        "count": count,
        "figure": figure,
        "counted": counted,
    }
    summary = facts.summary
    training = summary.get("training") or {}
    history = training.get("history") or []
    sprite = Sprite.of(facts.pictures) if facts.pictures else None
    predictions = facts.predictions
    bins = reliability(predictions.confidence, predictions.right) if predictions else []
    return environment.get_template("template.html.j2").render(
        facts=facts,
        run=facts.run,
        started=f"{datetime.datetime.fromtimestamp(facts.run.started / 1000):%d %B %Y, %H:%M}",
        summary=summary,
        metrics=summary.get("metrics") or {},
        headline=headline(summary.get("metrics") or {}),
        logged=logged(summary),
        training=training,
        profile=summary.get("profile") or {},
        gates=gates(facts),
        curves=_curves(history, training.get("best_epoch")),
        loss=loss(facts),
        search=search(facts),
        made_in={node.id: node.made_in for node in facts.nodes if node.made_in},
        cached=sum(node.state == NODE_CACHED for node in facts.nodes),
        first_data=any(
            node.id == "AcceptedData" and node.state in (NODE_RAN, NODE_CACHED) and not node.made
            for node in facts.nodes
        ),
        others=rest_seconds(facts),
        class_counts=class_counts(facts),
        input_limit=INPUT_SHARE_LIMIT,
        history=history,
        sprite=sprite,
        sampled=list(next(iter(facts.samples.values()), ())),
        sampled_records=SAMPLED_RECORDS,
        matrix=_matrix(predictions) if predictions else None,
        cells=_cells(facts, sprite) if predictions and sprite else {},
        errors=_errors(facts, sprite) if predictions and sprite else [],
        slices=quality_by_slice(predictions) if predictions else [],
        bins=bins,
        reliability=plots.reliability_diagram(bins) if bins else "",
        distributions=_distributions(facts),
        feature_names=_FEATURE_NAMES,
        slowest=max([rest_seconds(facts) or 0, *(node.seconds or 0 for node in facts.nodes)]) or 1,
        dag=draw(facts.nodes),
        comparison=compare(facts),
        settings=flatten(kept_provenance(facts).get("settings") or {}),
        provenance=provenance(facts),
        packages=kept_provenance(facts).get("packages") or {},
    )


def _curves(history: list[dict], best: int | None) -> list[str]:
    if not history:
        return []
    told = [
        plots.curves(
            history, {"accuracy": "training", "val_accuracy": "validation"}, "accuracy", best=best, percent=True
        ),
        plots.curves(history, {"loss": "training", "val_loss": "validation"}, "loss, as trained on", best=best),
    ]
    if all("learning_rate" in entry for entry in history):
        rates = {"learning_rate": "at the end of the epoch"}
        told.append(plots.curves(history, rates, "learning rate", best=best))
    return told


def _matrix(predictions: Predictions) -> dict:
    """Returns the rows of the confusion matrix, of the classes `shown`; each cell has its count and its share."""
    counts = confusion_matrix(predictions)
    totals = counts.sum(axis=1, keepdims=True).clip(min=1)
    shares = counts / totals
    shown = shown_classes(predictions)
    rows = [[{"count": int(counts[a, b]), "share": float(shares[a, b])} for b in shown] for a in shown]
    pairs = sorted(
        ((int(counts[a, b]), a, b) for a in range(len(counts)) for b in range(len(counts)) if a != b), reverse=True
    )
    names = predictions.class_names
    return {"shown": shown, "rows": rows, "worst": [(names[a], names[b], n) for n, a, b in pairs[:3] if n]}


def _cells(facts: Facts, sprite: Sprite) -> dict[str, list]:
    """Returns, for each cell of the matrix, place in the sprite, confidence and position of its images."""
    predictions = facts.predictions
    return {
        f"{label}-{prediction}": [
            [*sprite.place((TEST, number)), round(float(predictions.confidence[index]), 4), number]
            for index in indices
            if (number := int(predictions.example[index]),) and (TEST, number) in sprite.positions
        ]
        for (label, prediction), indices in cell_examples(predictions, facts.cell_images).items()
    }


def _errors(facts: Facts, sprite: Sprite) -> list[dict]:
    predictions = facts.predictions
    return [
        {
            "place": sprite.place((TEST, number)),
            "label": predictions.class_names[predictions.label[index]],
            "prediction": predictions.class_names[predictions.prediction[index]],
            "confidence": float(predictions.confidence[index]),
            "example": number,
        }
        for index in most_confident_errors(predictions, ERROR_IMAGES)
        if (TEST, number := int(predictions.example[index])) in sprite.positions
    ]


def _distributions(facts: Facts) -> list[str]:
    return [
        plots.distributions(facts.statistics, feature, label)
        for feature, label in _FEATURES
        if any(split.histograms.get(feature) for split in facts.statistics)
    ]
