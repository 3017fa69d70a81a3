"""The page about a sweep: a table of its points, how much each setting matters, and pictures with error bars.

Synopsis:

    write_page(Path("docs/hyperparameters.md"), rows, settings)     # and pictures beside it
"""

from collections.abc import Sequence
from pathlib import Path

from models.files import replacing, write_text
from pipeline.settings import Settings
from pipeline.sweep.results import Row, Summary, importance, summarize

# What is no farther from nothing than this many standard errors is noise.
_TELLING = 2.0


def render_table(summaries: Sequence[Summary]) -> str:
    """Returns the points as a Markdown table; differences in points of validation accuracy, to the preset."""
    measured = any(summary.peak_mib is not None for summary in summaries)
    columns = ["setting", "validation accuracy, %", "difference", "standard error", "multiply-adds", "processor time"]
    columns += ["images/s", "waiting, %", "memory, MiB", "shards, MiB"] if measured else []
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for summary in summaries:
        mark = "**" if abs(summary.difference) > _TELLING * summary.error > 0 else ""
        changed = bool(summary.point.changes)
        cells = [
            str(summary.point),
            f"{100 * summary.mean:.2f} ± {100 * summary.spread:.2f}",
            f"{mark}{100 * summary.difference:+.2f}{mark}" if changed else "",
            f"{100 * summary.error:.2f}" if changed else "",
            f"x{summary.cost:.2f}",
            f"x{summary.time:.2f}",
        ]
        if measured:
            cells += [f"x{summary.rate:.2f}", f"{100 * summary.input_share:.1f}"]
            cells += [f"{summary.peak_mib:,.0f}", f"{summary.disk_mib:,.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_page(path: Path, rows: Sequence[Row], settings: Settings) -> None:
    """Writes the page and, beside it, a picture."""
    summaries, shares = summarize(rows), importance(rows)
    picture = path.with_name(f"{path.stem}.png")
    _draw(picture, summaries)
    seeds = sorted({row.seed for row in rows})
    lines = [
        "# What the hyperparameters do",
        "",
        f"Preset `{settings.config.preset}`, {len(seeds)} seeds a point ({seeds[0]} to {seeds[-1]}), {len(rows)} "
        f"trainings of {sum(row.seconds for row in rows) / 3600:.1f} hours. Accuracy is that of the validation split; "
        "the test split was not opened. Differences are taken seed by seed; what is bold is more than two of its "
        f"standard errors away from nothing. Two seeds of the preset differ by {100 * summaries[0].spread:.2f} points "
        "(standard deviation): that is the yardstick.",
        "",
        f"![accuracy by setting]({picture.name})",
        "",
        render_table(summaries),
        "",
        "How much of what the settings explain is due to each (permutation importance in a random forest over all "
        "trainings):",
        "",
        "| setting | share |",
        "|---|---|",
        *(f"| `{name}` | {100 * share:.1f} % |" for name, share in shares.items()),
        "",
    ]
    write_text(path, "\n".join(lines))


def _draw(path: Path, summaries: Sequence[Summary]) -> None:
    """Draws the difference of each point to the preset, with its standard error, grouped by setting."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shown = [summary for summary in summaries if summary.point.changes]
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(7.2, 0.9 + 0.24 * len(shown)), layout="constrained")
        axes = figure.subplots()
        noise = 100 * summaries[0].spread
        axes.axvspan(-noise, noise, color="#dddddd", label="one standard deviation of the preset's seeds")
        axes.axvline(0, color="#888888", linewidth=1)
        for place, summary in enumerate(shown):
            axes.errorbar(
                100 * summary.difference,
                place,
                xerr=100 * summary.error,
                fmt="o",
                color="#2563eb" if summary.difference >= 0 else "#b45309",
                markersize=4,
            )
        axes.set_yticks(range(len(shown)), [str(summary.point) for summary in shown])
        axes.invert_yaxis()
        axes.set_xlabel("points of validation accuracy against the preset")
        axes.grid(axis="x", color="#eeeeee")
        axes.set_axisbelow(True)
        axes.legend(loc="lower left", frameon=False)
        with replacing(path) as partial:
            figure.savefig(partial, format="png", dpi=150)
