"""The page about a sweep: a table of its points, how much each setting matters, and pictures with error bars.

Synopsis:

    write_page(folder / "page.md", rows, preset="fast", command="python -m pipeline.sweep training.shift=1")
"""

import math
import statistics
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from models.files import replacing, write_text
from pipeline.sweep.results import Row, Summary, importance, pooled_deviation, summarize, write_csv
from pipeline.sweep.words import words

# Letters in a line of a point's name in the picture.
_NAME = 40


def render_table(summaries: Sequence[Summary]) -> str:
    """Returns the points as a Markdown table; differences in points of validation accuracy, to the preset."""
    measured = any(summary.peak_mib is not None for summary in summaries)
    columns = [
        "setting",
        "seeds",
        "validation accuracy, %",
        "difference",
        "standard error",
        "multiply-adds",
        "processor time",
    ]
    columns += ["images/s", "waiting, %", "memory, MiB", "shards, MiB"] if measured else []
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    pooled = pooled_deviation(summaries)
    for summary in summaries:
        mark = "**" if summary.is_telling(pooled) else ""
        compared = len(summary.differences) if summary.point.changes else 0
        failed = f" ({summary.failed} of {summary.count} failed)" if summary.failed else ""
        cells = [
            f"{summary.point}{failed}",
            str(summary.count),
            f"{100 * summary.mean:.2f}" + (f" ± {100 * summary.spread:.2f}" if summary.count > 1 else ""),
            f"{mark}{100 * summary.difference:+.2f}{mark}" if compared else "",
            f"{100 * summary.error:.2f}" if compared > 1 else "",
            f"x{summary.cost:.2f}",
            f"x{summary.time:.2f}",
        ]
        if measured:
            share, peak = (math.nan if v is None else v for v in (summary.input_share, summary.peak_mib))
            cells += [f"x{summary.rate:.2f}", f"{100 * share:.1f}", f"{peak:,.0f}", f"{summary.disk_mib:,.1f}"]
        # A point of which nothing was trained to its end has no such figures.
        cells = ["" if cell in ("xnan", "nan") else cell for cell in cells]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_page(path: Path, rows: Sequence[Row], *, preset: str, command: str) -> None:
    """Writes the page and, beside it, a picture and the trainings as CSV.

    Args:
      path: of the page; picture and CSV have its name.
      rows: of all trainings.
      preset: that was swept around.
      command: that made it.
    """
    summaries = summarize(rows)
    picture, trainings = path.with_suffix(".png"), path.with_suffix(".csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    _draw(picture, rows, summaries)
    write_csv(trainings, rows)
    seeds = sorted({row.seed for row in rows})
    lines = [
        "# What the settings do",
        "",
        f"{len(rows)} trainings around the preset `{preset}`, {sum(row.seconds for row in rows) / 3600:.1f} hours, "
        f"up to {len(seeds)} to a point (seeds {', '.join(map(str, seeds))}). Accuracy is that of the validation "
        "split; the test split was not opened. Differences are to the preset, seed by seed, in points, with their "
        f"standard error. From seed to seed a difference lies {100 * pooled_deviation(summaries):.2f} points apart "
        "(standard deviation, all points together): that is the yardstick. Bold, and called a difference below, is "
        "what is more than two standard errors away from nothing, by the point's own seeds and by the yardstick. Names "
        "are those of settings below `training.`.",
        "",
        f"Each training is in [{trainings.name}]({trainings.name}). Made by:",
        "",
        f"    {command}",
        "",
        *(line for paragraph in words(rows) for line in (paragraph, "")),
        f"![what each setting does]({picture.name})",
        "",
        render_table(summaries),
        "",
        *_importance(importance(rows)),
    ]
    write_text(path, "\n".join(lines))


def _importance(shares: dict[str, float]) -> list[str]:
    if not shares:
        return []
    return [
        "How much each setting explains of what all of them do in these ranges (permutation importance in a random "
        "forest over all trainings; one at a time and few pairs were tried, so it is no more than a rough order):",
        "",
        "| setting | share |",
        "|---|---|",
        *(f"| `{name}` | {100 * share:.1f} % |" for name, share in shares.items()),
        "",
    ]


def _draw(path: Path, rows: Sequence[Row], summaries: Sequence[Summary]) -> None:
    """Draws each point: its difference to the preset with its standard error, and its time with its range.

    Where the input pipeline was measured, images a second stand in the place of the difference.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shown = [summary for summary in summaries if summary.point.changes]
    # A point of many changes would take the whole width.
    names = [textwrap.fill(str(summary.point), _NAME) for summary in shown]
    lines = [1 + name.count("\n") for name in names]
    places = [sum(lines[:n]) + (lines[n] - 1) / 2 for n in range(len(lines))]
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(9.6, 1.3 + 0.23 * sum(lines)), layout="constrained")
        first, second = figure.subplots(1, 2, sharey=True, width_ratios=(5, 3))
        if any(summary.peak_mib is not None for summary in summaries):
            rates = [summary.rate for summary in shown]
            _draw_ratios(first, places, rates, shown, rows, "examples_per_second", of=max)
            first.set_xlabel("images a second, times the preset's\n(each one's fastest training, to its slowest)")
        else:
            _draw_differences(first, places, shown, pooled_deviation(summaries))
        first.set_yticks(places, names)
        first.invert_yaxis()
        _draw_ratios(second, places, [summary.time for summary in shown], shown, rows, "cpu_seconds")
        second.set_xlabel("time of the processor,\ntimes the preset's")
        for axes in (first, second):
            axes.grid(axis="x", color="#eeeeee")
            axes.set_axisbelow(True)
            axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        with replacing(path) as partial:
            figure.savefig(partial, format="png", dpi=120)


def _draw_differences(axes, places: Sequence[float], shown: Sequence[Summary], noise: float) -> None:
    axes.axvspan(-100 * noise, 100 * noise, color="#dddddd", label="one standard deviation from seed to seed")
    axes.axvline(0, color="#888888", linewidth=1)
    for place, summary in zip(places, shown, strict=True):
        if not summary.differences:
            continue
        style = {"fmt": "o", "color": "#2563eb" if summary.difference >= 0 else "#b45309", "markersize": 4}
        axes.errorbar(100 * summary.difference, place, xerr=100 * summary.error, **style)
    # What falls apart must not squeeze the rest into a line.
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlabel("points of validation accuracy against the preset\n(beyond 1 logarithmic)")
    axes.xaxis.set_major_locator(_within(axes, (-100, -30, -10, -3, -1, -0.5, 0, 0.5, 1, 3, 10)))
    axes.legend(loc="lower left", frameon=False, fontsize=8)


def _draw_ratios(
    axes,
    places: Sequence[float],
    ratios: Sequence[float],
    shown: Sequence[Summary],
    rows: Sequence[Row],
    name: str,
    *,
    of: Callable = statistics.median,
) -> None:
    """Draws multiples of the preset's, with the range over the trainings, on a logarithmic axis."""
    from matplotlib.ticker import NullLocator

    base = of([getattr(row, name) for row in rows if not row.point.changes and not row.failed] or [1.0])
    axes.axvline(1, color="#888888", linewidth=1)
    for place, ratio, summary in zip(places, ratios, shown, strict=True):
        own = [getattr(row, name) / base for row in rows if row.point == summary.point and not row.failed]
        # Of a point nothing was trained to its end.
        if not math.isnan(ratio):
            reach = [[max(0, ratio - min(own))], [max(0, max(own) - ratio)]]
            axes.errorbar(ratio, place, xerr=reach, fmt="s", color="#0f766e", markersize=3.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(_within(axes, (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 4, 8, 16)))
    axes.xaxis.set_minor_locator(NullLocator())


def _within(axes, places: Sequence[float]):
    """Returns a locator of ticks: those of `places` that the axes reach."""
    from matplotlib.ticker import FixedLocator

    low, high = axes.get_xlim()
    return FixedLocator([place for place in places if low <= place <= high])
