"""Draws the report's plots as SVG with real text, in the colours of the page, light or dark.

Matplotlib knows no CSS variables: each plot is drawn in stand-ins, which are replaced in the SVG.
"""

import io
import re
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pipeline.report.collect import SplitStatistics
from pipeline.report.predictions import Bin

# Stand-in to what the page's style sheet calls it.
_TEXT, _LINE = "#010101", "#020202"
SERIES = ("#030303", "#040404", "#050505")
_CSS = {_TEXT: "var(--text)", _LINE: "var(--line)"} | {color: f"var(--s{n})" for n, color in enumerate(SERIES, 1)}
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.family": "DejaVu Sans",  # matplotlib brings it; the page shows its own
    "font.size": 10,
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.edgecolor": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _LINE,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _TEXT,
    "ytick.labelcolor": _TEXT,
    "legend.frameon": False,
}
_SIZE = (4.4, 2.9)


def curves(history: list[dict], lines: dict[str, str], label: str, *, best: int | None, percent: bool = False) -> str:
    """Draws quantities by epoch.

    Args:
      history: an entry for each epoch.
      lines: what each quantity is called, by its key in an entry; a single one has no legend.
      label: of the axis.
      best: the epoch to mark, whose weights were kept.
      percent: whether they are shares.
    """

    def draw(figure) -> None:
        axes = figure.add_subplot()
        epochs = [entry["epoch"] for entry in history]
        if best is not None:
            axes.axvline(best, linestyle="--", color=_TEXT, linewidth=1, label="best epoch, kept")
        for (name, told), color in zip(lines.items(), SERIES, strict=False):
            axes.plot(epochs, [entry.get(name) for entry in history], "o-", color=color, markersize=4, label=told)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        axes.legend()

    return _svg(draw, f"{label} by epoch", label.split(",")[0].replace(" ", "-"))


def trial_curves(trials: list[dict], best: dict) -> str:
    """Draws the validation accuracy of each trial of a search by epoch, the best and the first, as it stood, marked."""

    def draw(figure) -> None:
        axes = figure.add_subplot()
        for trial in trials:
            epochs = range(1, len(trial["curve"]) + 1)
            axes.plot(epochs, trial["curve"], ".-", color=_LINE, linewidth=1, markersize=3)
        for trial, told, color in ((trials[0], "as it stands", SERIES[1]), (best, "the best", SERIES[0])):
            axes.plot(range(1, len(trial["curve"]) + 1), trial["curve"], "o-", color=color, markersize=4, label=told)
        axes.set_xlabel("epoch")
        axes.set_ylabel("validation accuracy")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(loc="lower right")

    return _svg(draw, "validation accuracy of each trial by epoch", "trials")


def trial_values(trials: list[dict], best: dict, name: str) -> str:
    """Draws the validation accuracy of the trials that came to their end over a setting's value."""
    shown = [trial for trial in trials if not trial["stopped"] and not trial.get("failed")]

    def draw(figure) -> None:
        axes = figure.add_subplot()
        values = [trial["values"].get(name) for trial in shown]
        if not all(isinstance(value, int | float) for value in values):
            levels = sorted({str(value) for value in values})
            axes.set_xticks(range(len(levels)), levels)
            values = [levels.index(str(value)) for value in values]
        for mark, color, size in (("o", SERIES[0], 5), ("*", SERIES[1], 12)):
            asked = [(x, trial) for x, trial in zip(values, shown, strict=True) if mark == "o" or trial is best]
            axes.plot(
                [x for x, _ in asked], [trial["val_accuracy"] for _, trial in asked], mark, color=color, markersize=size
            )
        axes.set_xlabel(name)
        axes.set_ylabel("validation accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.margins(0.1)

    return _svg(draw, f"validation accuracy of the trials by {name}", f"by-{name.replace('.', '-').replace('_', '-')}")


def reliability_diagram(rows: Sequence[Bin]) -> str:
    """Draws accuracy against confidence, and below it the share of the examples in each bin, on an axis of its own.

    A model that knows how sure it may be lies on the diagonal; a bar through a point is the 95 % interval.
    """

    def draw(figure) -> None:
        axes, shares = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        axes.plot([0, 1], [0, 1], "--", color=_TEXT, linewidth=1)
        confidences, accuracies = [row.confidence for row in rows], [row.accuracy for row in rows]
        below = [row.accuracy - row.accuracy_low for row in rows]
        above = [row.accuracy_high - row.accuracy for row in rows]
        axes.errorbar(
            confidences, accuracies, yerr=(below, above), fmt="o-", color=SERIES[0], markersize=5, elinewidth=1
        )
        total = sum(row.examples for row in rows) or 1
        shares.bar(
            [row.low for row in rows],
            [row.examples / total for row in rows],
            width=[row.high - row.low for row in rows],
            align="edge",
            color=SERIES[2],
            alpha=0.45,
        )
        axes.set_xlim(0, 1.02)
        for part, label in ((axes, "accuracy"), (shares, "of the images")):
            part.set_ylim(0, 1.02)
            part.set_ylabel(label)
            part.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        shares.set_xlabel("confidence")
        shares.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))

    return _svg(draw, "accuracy by confidence, and how many images have it", "reliability", height=3.6)


def distributions(statistics: list[SplitStatistics], feature: str, label: str) -> str:
    """Draws the distribution of a numeric feature in each split, from the bins of its quantiles."""

    def draw(figure) -> None:
        axes = figure.add_subplot()
        for split, color, style in zip(statistics, SERIES, ("-", "--", ":"), strict=False):
            bins = split.histograms.get(feature, [])
            total = sum(count for *_, count in bins) or 1
            values = [bins[0][0], *(high for _, high, _ in bins)] if bins else []
            shares = [0.0]
            for *_, count in bins:
                shares.append(shares[-1] + count / total)
            if bins:
                axes.plot(values, shares, style, color=color, label=split.split, linewidth=1.8)
        axes.set_xlabel(label)
        axes.set_ylabel("share of the images up to")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.legend(loc="lower right")

    return _svg(draw, f"distribution of the {label} in each split", feature.replace("_", "-"))


def _svg(draw, title: str, name: str, height: float = _SIZE[1]) -> str:
    """Returns what `draw` does to a figure as an <svg> element that takes size and colours from the page.

    The figure is `height` inches high.
    """
    with rc_context(_SETTINGS):
        figure = Figure(figsize=(_SIZE[0], height), layout="constrained")
        draw(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style).*?</\1>", "", text, flags=re.DOTALL)
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups()
    head = f'<svg class="plot" role="img" aria-label="{title}" viewBox="0 0 {width} {height}">'
    text = re.sub(r"<svg[^>]*>", head, text, count=1)
    # Each plot numbers its parts anew, and the page holds several.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(url\(#|xlink:href="#)', rf"\g<1>{name}-", text).replace("xlink:href", "href")
    text = re.sub(r"font: (?:[\w ]*?)(\d[\d.]*px)[^;\"]*", r"font-size: \1", text)
    for stand_in, variable in _CSS.items():
        text = text.replace(stand_in, variable)
    return text
