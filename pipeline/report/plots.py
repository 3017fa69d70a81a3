"""Draws the report's plots as SVG with real text, in the colours of the page, light or dark.

Matplotlib knows no CSS variables: each plot is drawn in stand-ins, which are replaced in the SVG.
"""

import io
import re

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pipeline.report.collect import SplitStatistics

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


def curves(history: list[dict], train: str, val: str, label: str, *, percent: bool) -> str:
    """Draws a quantity of training and validation by epoch."""

    def draw(axes) -> None:
        epochs = [entry["epoch"] for entry in history]
        for name, told, color in ((train, "training", SERIES[0]), (val, "validation", SERIES[1])):
            axes.plot(epochs, [entry[name] for entry in history], "o-", color=color, markersize=4, label=told)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        axes.legend()

    return _svg(draw, f"{label} by epoch", label.replace(" ", "-"))


def reliability_diagram(rows: list[tuple[float, float, int]]) -> str:
    """Draws accuracy against confidence; a model that knows how sure it may be lies on the diagonal."""

    def draw(axes) -> None:
        axes.plot([0, 1], [0, 1], "--", color=_TEXT, linewidth=1)
        most = max((count for *_, count in rows), default=1)
        axes.bar(
            [confidence for confidence, *_ in rows],
            [0.25 * count / most for *_, count in rows],
            width=0.06,
            color=SERIES[2],
            alpha=0.45,
            label="share of the examples",
        )
        confidences, accuracies = [row[0] for row in rows], [row[1] for row in rows]
        axes.plot(confidences, accuracies, "o-", color=SERIES[0], markersize=5, label="accuracy")
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.legend(loc="upper left")

    return _svg(draw, "accuracy by confidence", "reliability")


def distributions(statistics: list[SplitStatistics], feature: str, label: str) -> str:
    """Draws the distribution of a numeric feature in each split, from the bins of its quantiles."""

    def draw(axes) -> None:
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


def _svg(draw, title: str, name: str) -> str:
    """Returns what `draw` does to an axes as an <svg> element that takes its size and colours from the page."""
    with rc_context(_SETTINGS):
        figure = Figure(figsize=_SIZE, layout="constrained")
        draw(figure.add_subplot())
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
