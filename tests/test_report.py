"""The report of a real run in a real browser: everything shows, works, and comes from the one file."""

import io
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from playwright.sync_api import expect

from pipeline.output_root import OutputRoot
from pipeline.report.render import write_report

pytestmark = pytest.mark.slow

SECTIONS = (
    "result",
    "training",
    "confusion",
    "errors",
    "quality",
    "samples",
    "data",
    "time",
    "lineage",
    "comparison",
    "provenance",
)
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def report(smoke_output: Path) -> Path:
    """What the run itself wrote."""
    (path,) = smoke_output.glob("runs/*/report.html")
    return path


@pytest.fixture(scope="module")
def summary(report: Path) -> dict:
    return json.loads((report.parent / "summary.json").read_text())


@pytest.fixture
def page(chromium, report: Path) -> Iterator:
    """The report, opened from disk; afterwards, that the console stayed empty and nothing was asked of a network."""
    page = chromium.new_page(viewport={"width": 1200, "height": 900})
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    yield page
    page.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]


def test_every_section_shows_and_nothing_is_wider_than_the_page(page):
    for name in SECTIONS:
        expect(page.locator(f"section#{name}")).to_be_visible()
        assert page.locator(f"nav a[href='#{name}']").count() == 1
    assert page.locator("svg.plot").count() >= 4
    assert page.evaluate("document.documentElement.scrollWidth") <= 1200
    for width in (1200, 794):  # 794: a sheet of A4
        page.set_viewport_size({"width": width, "height": 900})
        matrix, around = (page.locator(f"#confusion {part}").first.bounding_box() for part in ("table", ".scroll"))
        assert matrix["width"] <= around["width"] + 1, "the confusion matrix is cut off"


def test_page_fits_a_telephone(page):
    page.set_viewport_size({"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    for name in SECTIONS:
        box = page.locator(f"section#{name}").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 380, name
    cut = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)"
    assert page.evaluate(cut) == []


def test_figures_are_those_of_the_summary(page, summary):
    accuracy = f"{100 * summary['metrics']['test_accuracy']:.2f}"
    expect(page.locator(".tile").first).to_contain_text(accuracy)
    expect(page.locator("#state")).to_have_text("blessed")
    counts = [[int(cell) for cell in row.split("\t") if cell] for row in _matrix_rows(page)]
    assert counts == summary["metrics"]["confusion_matrix"]
    expect(page.locator("#result")).to_contain_text("/".join(Path(summary["pushed_model"]).parts[-2:]))


def test_figures_are_those_that_another_way_to_them_gives(page, smoke_output, summary):
    """From the database by SQL and the file of predictions by hand, with no code of the report's."""
    database = sqlite3.connect(smoke_output / "metadata.db")
    (folder,) = database.execute(
        "SELECT a.uri FROM Artifact a JOIN Type t ON t.id = a.type_id WHERE t.name = 'Predictions'"
    ).fetchone()
    rows = pq.read_table(f"{folder}/predictions.parquet").to_pylist()
    names = list(summary["metrics"]["per_class_accuracy"])
    shown = page.locator("#quality table").first.locator("tr").all()
    table = {cells[0]: cells for row in shown if len(cells := row.locator("td").all_inner_texts()) > 3}
    plain = lambda text: text.replace("\u202f%", "")  # noqa: E731
    for number, name in enumerate(names):
        own = [row for row in rows if row["label"] == number]
        answers = [row for row in rows if row["prediction"] == number]
        right = sum(row["prediction"] == number for row in own)
        _, count, accuracy, _, precision, f1, confidence, _ = table[name]
        assert int(count) == len(own)
        assert plain(accuracy) == f"{100 * right / len(own):.1f}"
        assert plain(precision) == f"{100 * right / len(answers):.1f}"
        assert f1 == f"{2 * right / (len(own) + len(answers)):.3f}"
        mean = 100 * sum(max(row["probabilities"]) for row in own) / len(own)
        assert float(plain(confidence)) == pytest.approx(mean, abs=0.051)
    by_class = [row.locator("td").all_inner_texts() for row in page.locator("#classes tr").all()[1:]]
    data_counts = summary["data"]["splits"]
    assert [sum(int(row[n].replace(",", "")) for row in by_class) for n in (1, 2, 3)] == list(data_counts.values())
    assert [int(row[3]) for row in by_class] == [sum(row["label"] == n for row in rows) for n in range(len(names))]
    # The test loss on the measure of the curves: near the validation loss of the epoch that was kept.
    (loss,) = re.findall(r"on that of the curves the test split has (\d+\.\d+)", page.locator("#loss").inner_text())
    training = summary["training"]
    assert float(loss) == pytest.approx(training["history"][training["best_epoch"] - 1]["val_loss"], abs=0.1)
    assert float(loss) > summary["metrics"]["test_loss"]
    expect(page.locator("#mirrored")).to_contain_text(training["flip_reason"])


def test_gates_hold_what_is_behind_them_by_dashed_lines(page):
    """DataGate holds Transform, InfraValidator holds BulkInferrer."""
    assert page.locator(".dag path.waits").count() == 2
    assert page.locator(".dag g.gate").count() == 4
    # A line that begins below a box, and runs through none: none of its middle lies in a rectangle.
    crossed = """
        [...document.querySelectorAll('.dag path')].flatMap(path => {
            const length = path.getTotalLength();
            return [...Array(20).keys()].slice(1).map(n => path.getPointAtLength(length * n / 20))
                .filter(p => [...document.querySelectorAll('.dag rect')].some(r => {
                    const b = r.getBBox();
                    return p.x > b.x + 1 && p.x < b.x + b.width - 1 && p.y > b.y + 1 && p.y < b.y + b.height - 1;
                })).map(p => [path.getAttribute('d'), p.x, p.y]);
        })"""
    assert page.evaluate(crossed) == []


def _matrix_rows(page) -> list[str]:
    rows = page.locator("table.matrix tbody tr")
    return ["\t".join(rows.nth(n).locator("button").all_inner_texts()) for n in range(rows.count())]


def test_a_click_on_a_cell_shows_its_images(page, summary):
    matrix = summary["metrics"]["confusion_matrix"]
    # The most frequent error is shown at first; the second most frequent is chosen.
    errors = sorted(((matrix[a][b], a, b) for a in range(10) for b in range(10) if a != b), reverse=True)
    panel = page.locator("#cell")
    expect(panel.locator("figure")).to_have_count(min(20, errors[0][0]))
    count, label, prediction = errors[1]
    button = page.locator(f"[data-cell='{label}-{prediction}']")
    button.click()
    names = list(summary["metrics"]["per_class_accuracy"])
    expect(panel.locator("h3")).to_have_text(f"{count} × {names[label]} taken for {names[prediction]}")
    expect(panel.locator("figure")).to_have_count(min(20, count))
    expect(button).to_have_attribute("aria-pressed", "true")
    assert page.locator("[data-cell][aria-pressed=true]").count() == 1


def test_pictures_are_of_the_test_images(page):
    """One thumbnail has light and dark pixels: the sprite is decoded and in place."""
    image = page.locator("#errors .im").first
    image.scroll_into_view_if_needed()
    picture = image.screenshot()
    values = np.asarray(Image.open(io.BytesIO(picture)).convert("L"))
    assert values.min() < 30 and values.max() > 100


def test_page_prints_without_its_menu_and_with_everything_open(page):
    page.emulate_media(media="print")
    expect(page.locator("nav")).to_be_hidden()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    for name in SECTIONS:
        expect(page.locator(f"section#{name}")).to_be_visible()


def test_page_follows_a_dark_system(page):
    page.emulate_media(color_scheme="dark")
    colors = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    back, text = (sum(map(int, color[4:-1].split(","))) for color in colors)
    assert back < 150 < 500 < text


def test_file_is_small_and_the_command_makes_the_same(report, smoke_output, summary):
    content = report.read_text()
    assert len(content.encode()) < 5_000_000
    started = time.monotonic()
    command = [sys.executable, "-m", "pipeline.report", summary["run_id"][:-2], "--output-root", str(smoke_output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(report)
    assert report.read_text() == content
    assert time.monotonic() - started < 30


def test_report_of_a_run_whose_artifacts_are_gone_has_what_is_left(chromium, smoke_output, tmp_path):
    output = tmp_path / "output"
    shutil.copytree(smoke_output, output, ignore=shutil.ignore_patterns("artifacts", "report.html"))
    # The database still names the old folders: a report must not look there when they are gone.
    moved = smoke_output.with_name("moved")
    (smoke_output / "artifacts").rename(moved)
    try:
        path = write_report(OutputRoot(output), "latest")
    finally:
        moved.rename(smoke_output / "artifacts")
    page = chromium.new_page()
    page.goto(path.as_uri())
    for name in ("result", "training", "time", "lineage", "provenance"):
        expect(page.locator(f"section#{name}")).to_be_visible()
    assert page.locator("section#confusion").count() == 0
    page.close()
