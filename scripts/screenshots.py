"""Takes the pictures in docs/images: TensorBoard's pages, the latest run's report, and all runs, in headless Chromium.

The browser tests open the pages through the same functions. Needs `make browser` and a finished run.

Synopsis:

    python -m scripts.screenshots --output-root output
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from scripts.browser import FLAGS, find_browser
from scripts.console import Stop, exit_status

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
# What a busy machine with two cores may take to import TensorFlow, or Chromium to run 26 MB of the profiler's scripts.
START_SECONDS = 120
SHOW_MS = 40_000
COLORS = 256
NARROW_HEIGHT, GAP = 1500, 24
# The profiler's page loads its program only after Google's charts, from a server of Google's. With this in their place
# it shows its figures anywhere, without the charts.
NO_CHARTS = "window.google = {charts: {load() {}, safeLoad() {}, setOnLoadCallback() {}}, visualization: {}};"


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium.

    Raises:
      Stop: there is none.
    """
    executable = find_browser()
    if executable is None:
        raise Stop("no Chromium here; run 'make browser'.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(executable), args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def tensorboard(logs: Path, load_fast: str = "false") -> Iterator[str]:
    """A TensorBoard that serves `logs` on this machine alone; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["--logdir", str(logs), "--host", "127.0.0.1", "--port", str(port), "--load_fast", load_fast]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen([sys.executable, "-m", "tensorboard.main", *where], stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}/"
            deadline = time.monotonic() + START_SECONDS
            while not _answers(url):
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"TensorBoard did not start: {log.read().decode(errors='replace')[-2000:]}")
                time.sleep(0.2)
            yield url
        finally:
            server.terminate()
            server.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}data/runs") as answer:
            return bool(json.load(answer))
    except (OSError, ValueError):
        return False


def without_network(page: Page) -> None:
    """Keeps `page` on this machine, with nothing in place of Google's charts."""

    def answer(route) -> None:
        if route.request.url.endswith("/charts/loader.js"):
            route.fulfill(content_type="text/javascript", body=NO_CHARTS)
        else:
            route.abort()

    page.route(re.compile(r"^https:"), answer)


def show_scalars(page: Page, url: str) -> None:
    """Opens the page of time series and waits for the curves of loss and accuracy."""
    page.set_viewport_size({"width": 1200, "height": 640})  # a card is drawn only once it is in view
    page.goto(f"{url}?smoothing=0&tagFilter=epoch_(accuracy|loss)#timeseries")
    page.get_by_role("button", name="Settings").click(timeout=SHOW_MS)  # hides them
    for name in ("epoch_accuracy", "epoch_loss"):
        card = page.locator("scalar-card").filter(has_text=name)
        expect(card.locator("line-chart").first).to_be_visible(timeout=SHOW_MS)


def show_hparams(page: Page, url: str) -> None:
    """Opens the HParams page and waits for its table of trials."""
    page.set_viewport_size({"width": 1300, "height": 640})
    page.goto(f"{url}#hparams")
    expect(page.get_by_text("learning_rate").first).to_be_visible(timeout=SHOW_MS)
    expect(page.get_by_text("val_accuracy").first).to_be_visible(timeout=SHOW_MS)


def show_graph(page: Page, url: str) -> None:
    """Opens the graph page, waits for the graph and opens the model in it, so that its layers show."""
    page.goto(f"{url}#graphs")
    model = page.locator("g.node").filter(has_text="functional").first
    expect(model).to_be_visible(timeout=SHOW_MS)
    model.dblclick(timeout=SHOW_MS)
    expect(page.locator("g.node").filter(has_text="logits").first).to_be_visible(timeout=SHOW_MS)


def show_profile(page: Page, url: str) -> str:
    """Opens the profiler's overview and waits for its figures; gives the text that it shows."""
    without_network(page)
    page.set_viewport_size({"width": 1200, "height": 1080})
    page.goto(f"{url}#profile")
    frame = page.frame_locator("iframe").last
    expect(frame.get_by_text("Performance Summary")).to_be_visible(timeout=SHOW_MS)
    expect(frame.get_by_text("Host Compute Time")).to_be_visible(timeout=SHOW_MS)
    return frame.locator("body").inner_text()


def save(picture: bytes, name: str) -> None:
    """Writes a screenshot as a PNG with a palette, a third of the size."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    path = IMAGES / f"{name}.png"
    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(Path.cwd())}: {path.stat().st_size / 1000:.0f} kB")


def tensorboard_pictures(browser: Browser, logs: Path, pages: dict) -> None:
    """Takes a picture of TensorBoard's pages on the logs of a training or a search; by name what shows each."""
    with tensorboard(logs) as url:
        for name, show in pages.items():
            page = browser.new_page(viewport={"width": 1200, "height": 780})
            show(page, url)
            page.wait_for_timeout(3000)  # animations
            save(page.screenshot(), f"tensorboard-{name}")
            page.close()


def report_pictures(browser: Browser, report: Path) -> None:
    """Takes pictures of a run's report: its beginning, what it says of errors and classes, and how it looks narrow."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(report.resolve().as_uri())
    save(_part(page, "header", "#confusion"), "report")
    save(_part(page, "#errors", "#quality"), "report-errors")
    if page.locator("#search").count():
        save(_part(page, "#search", "#search"), "report-search")
    save(_part(page, "#time", "#comparison"), "report-lineage")
    page.set_viewport_size({"width": 380, "height": NARROW_HEIGHT})
    page.evaluate("scrollTo(0, 0)")
    with Image.open(io.BytesIO(page.screenshot(full_page=True))) as image:
        sheet = Image.new("RGB", (3 * 380 + 2 * GAP, NARROW_HEIGHT), "white")
        for number in range(3):
            top = number * NARROW_HEIGHT
            sheet.paste(image.crop((0, top, 380, top + NARROW_HEIGHT)), (number * (380 + GAP), 0))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    save(stream.getvalue(), "report-narrow")
    page.close()


def index_picture(browser: Browser, index: Path) -> None:
    """Takes a picture of the page of all runs, wide and, beside it, narrow."""
    pictures = []
    for width in (1200, 390):
        page = browser.new_page(viewport={"width": width, "height": NARROW_HEIGHT})
        page.goto(index.resolve().as_uri())
        pictures.append(Image.open(io.BytesIO(page.screenshot(full_page=True))))
        page.close()
    wide, narrow = pictures
    sheet = Image.new("RGB", (wide.width + GAP + narrow.width, wide.height), "white")
    sheet.paste(wide, (0, 0))
    sheet.paste(narrow.crop((0, 0, narrow.width, min(narrow.height, wide.height))), (wide.width + GAP, 0))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    save(stream.getvalue(), "index")


def _part(page: Page, first: str, last: str) -> bytes:
    """Returns a picture of the page from one element to another, over its whole width."""
    top = page.locator(first).bounding_box()["y"] + page.evaluate("scrollY")
    box = page.locator(last).bounding_box()
    bottom = box["y"] + box["height"] + page.evaluate("scrollY")
    size = page.viewport_size["width"]
    page.add_style_tag(content="nav { position: static !important; }")
    return page.screenshot(full_page=True, clip={"x": 0, "y": top, "width": size, "height": bottom - top + 16})


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.screenshots", description=__doc__.splitlines()[0])
    parser.add_argument("--output-root", type=Path, default=Path("output"), help="of the run (output/)")
    arguments = parser.parse_args(argv)
    logs = sorted(arguments.output_root.glob("tensorboard/*/train"))
    reports = sorted(arguments.output_root.glob("runs/*/report.html"))
    if not (logs and reports):
        raise Stop(f"{arguments.output_root}: expected a run that trained, found none. Run 'make run' first.")
    with chromium() as browser:
        pages = {"scalars": show_scalars, "graph": show_graph, "profile": show_profile}
        tensorboard_pictures(browser, logs[-1].parent, pages)
        if trials := sorted(arguments.output_root.glob("tensorboard/*.trials")):
            tensorboard_pictures(browser, trials[-1], {"hparams": show_hparams})
        report_pictures(browser, reports[-1])
        index_picture(browser, arguments.output_root / "index.html")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status("screenshots", main))
