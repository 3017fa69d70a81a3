"""Turns the facts of a run into one HTML file that needs nothing else.

Synopsis:

    write_report(output, "latest")      # runs/<id>/report.html
"""

import datetime
from pathlib import Path

import jinja2

from models.features import TEST
from pipeline.metadata.store import Store
from pipeline.metadata.text import flatten
from pipeline.report import plots
from pipeline.report.answers import (
    Answers,
    cell_examples,
    confusion_matrix,
    most_confident_errors,
    quality_by_slice,
    reliability,
)
from pipeline.report.collect import ERROR_IMAGES, Facts, collect
from pipeline.report.dag import draw
from pipeline.report.formats import count, figure, percent, seconds
from pipeline.report.images import Sprite
from pipeline.report.sections import compare, gates, kept_provenance, provenance

REPORT_FILE = "report.html"
_FEATURES = (("image_mean", "mean grey level"), ("image_stddev", "standard deviation of the grey levels"))
_FEATURE_NAMES = {
    **dict(_FEATURES),
    "image_height": "height",
    "image_width": "width",
    "image_channels": "channels",
    "image_black": "share of black pixels",
    "image_saturated": "share of saturated pixels",
}


def write_report(output: Path, run: str) -> Path:
    """Writes the report of a run below its output root, under a temporary name first, and returns its path.

    Raises:
      InputError: there is no such run.
    """
    facts = collect(Store(output / "metadata.db"), output, run)
    path = output / "runs" / facts.run.id / REPORT_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(render(facts), encoding="utf-8")
    partial.replace(path)
    return path


def render(facts: Facts) -> str:
    """Returns the report as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,  # an older run's summary lacks what came later
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "seconds": seconds, "count": count, "figure": figure}
    summary = facts.summary
    training = summary.get("training") or {}
    history = training.get("history") or []
    sprite = Sprite.of(facts.pictures) if facts.pictures else None
    answers = facts.answers
    bins = reliability(answers.confidence, answers.right) if answers else []
    return environment.get_template("template.html.j2").render(
        facts=facts,
        run=facts.run,
        started=f"{datetime.datetime.fromtimestamp(facts.run.started / 1000):%d %B %Y, %H:%M}",
        summary=summary,
        metrics=summary.get("metrics") or {},
        training=training,
        profile=summary.get("profile") or {},
        gates=gates(facts),
        curves=_curves(history),
        history=history,
        sprite=sprite,
        matrix=_matrix(facts.answers) if answers else None,
        cells=_cells(facts, sprite) if facts.answers and sprite else {},
        errors=_errors(facts, sprite) if facts.answers and sprite else [],
        slices=quality_by_slice(facts.answers) if facts.answers else [],
        bins=bins,
        reliability=plots.reliability_diagram(bins) if bins else "",
        distributions=_distributions(facts),
        feature_names=_FEATURE_NAMES,
        slowest=max((node.seconds or 0 for node in facts.nodes), default=0) or 1,
        dag=draw(facts.nodes),
        comparison=compare(facts),
        settings=flatten(kept_provenance(facts).get("settings") or {}),
        provenance=provenance(facts),
        packages=kept_provenance(facts).get("packages") or {},
    )


def _curves(history: list[dict]) -> list[str]:
    if not history:
        return []
    return [
        plots.curves(history, "accuracy", "val_accuracy", "accuracy", percent=True),
        plots.curves(history, "loss", "val_loss", "loss", percent=False),
    ]


def _matrix(answers: Answers) -> dict:
    """Returns the rows of the confusion matrix; each cell has its count and its share of the row."""
    counts = confusion_matrix(answers)
    totals = counts.sum(axis=1, keepdims=True).clip(min=1)
    shares = counts / totals
    rows = [
        [{"count": int(n), "share": float(s)} for n, s in zip(row, share, strict=True)]
        for row, share in zip(counts, shares, strict=True)
    ]
    pairs = sorted(
        ((int(counts[a, b]), a, b) for a in range(len(counts)) for b in range(len(counts)) if a != b), reverse=True
    )
    names = answers.class_names
    return {"rows": rows, "worst": [(names[a], names[b], n) for n, a, b in pairs[:3] if n]}


def _cells(facts: Facts, sprite: Sprite) -> dict[str, list]:
    """Returns, for each cell of the matrix, place in the sprite, confidence and position of its images."""
    answers = facts.answers
    return {
        f"{label}-{prediction}": [
            [*sprite.place((TEST, number)), round(float(answers.confidence[index]), 4), number]
            for index in indices
            if (number := int(answers.example[index]),) and (TEST, number) in sprite.positions
        ]
        for (label, prediction), indices in cell_examples(answers, facts.cell_images).items()
    }


def _errors(facts: Facts, sprite: Sprite) -> list[dict]:
    answers = facts.answers
    return [
        {
            "place": sprite.place((TEST, number)),
            "label": answers.class_names[answers.label[index]],
            "prediction": answers.class_names[answers.prediction[index]],
            "confidence": float(answers.confidence[index]),
            "example": number,
        }
        for index in most_confident_errors(answers, ERROR_IMAGES)
        if (TEST, number := int(answers.example[index])) in sprite.positions
    ]


def _distributions(facts: Facts) -> list[str]:
    return [
        plots.distributions(facts.statistics, feature, label)
        for feature, label in _FEATURES
        if any(split.histograms.get(feature) for split in facts.statistics)
    ]
