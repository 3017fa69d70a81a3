"""Writes docs/BENCHMARKS.md, one section a benchmark; a benchmark that runs again replaces its own section only."""

import datetime
import os
import platform
import re
import statistics
from pathlib import Path

_HEAD = """# Benchmarks

Each section was written by the command it names. What is compared ran in turn in one benchmark run; figures are
medians. Read the ratios: the machine is shared and its speed drifts.
"""


def table(header: list[str], rows: list[list[object]]) -> str:
    """Returns a Markdown table; floats get three significant digits."""
    cells = [[_figure(cell) if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def accuracies_line(accuracies: list[float], of: str = "ours") -> str:
    """Returns a sentence with the test accuracies of the seeds 0, 1, ..., their mean and their spread."""
    listed = ", ".join(f"{accuracy:.2%}" for accuracy in accuracies)
    spread = f", standard deviation {statistics.stdev(accuracies):.2%}" if len(accuracies) > 1 else ""
    last = len(accuracies) - 1
    return f"Test accuracy, {of}, with the seeds 0 to {last}: {listed}; mean {statistics.mean(accuracies):.2%}{spread}."


def write_section(path: Path, name: str, title: str, body: str, command: str) -> None:
    """Replaces the section `name` of the file, which `command` made, or appends it."""
    text = path.read_text() if path.exists() else _HEAD
    stamp = f"`{command}`, {datetime.date.today()}, {machine()}."
    section = f"<!-- {name} -->\n## {title}\n\n{stamp}\n\n{body.strip()}\n<!-- end of {name} -->\n"
    pattern = re.compile(rf"<!-- {name} -->\n.*?<!-- end of {name} -->\n", re.DOTALL)
    text = pattern.sub(lambda _: section, text) if pattern.search(text) else f"{text.rstrip()}\n\n{section}"
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)


def machine() -> str:
    """Returns processor, number of cores and system in a few words."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    features = [name for flag, name in (("avx512f", "AVX-512"), ("avx512_bf16", "bfloat16")) if flag in cpuinfo]
    has = f" with {' and '.join(features)}" if features else ""
    return f"{model[1] if model else platform.processor()}{has}, {os.cpu_count()} cores, {platform.system()}"
