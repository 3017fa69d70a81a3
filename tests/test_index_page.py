"""The page of all runs: what it says of each, from records alone; in a browser, wide and narrow."""

import contextlib
import dataclasses
import datetime
import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from benchmarks import recorded_nights
from benchmarks.recorded_nights import record_nights, roll_back
from components.errors import InputError
from pipeline.metadata.periods import Period, served_periods
from pipeline.metadata.store import Store
from pipeline.output_root import OutputRoot
from pipeline.report import index_page
from pipeline.report.__main__ import main
from pipeline.report.attention import DAY, open_refusals, patience, state, to_look_at
from pipeline.report.charts import dots, nice, steps
from pipeline.report.drift import columns, shares
from pipeline.report.history import accuracies, pixels
from pipeline.report.index import Entry, Overview, overlook
from pipeline.report.index_page import render, write_index
from pipeline.run.console import Console
from pipeline.run.listed import listed
from pipeline.run.telling import write_index_if_possible

NIGHTS = 30
WIDTHS = (1400, 390)


class _Reader(HTMLParser):
    """Collects the ids, the addresses that links lead to, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.links, self.ids, self.text = [], set(), ""

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.links += [found["href"]] if tag == "a" else []
        self.ids.add(found.get("id"))

    def handle_data(self, data):
        self.text += data


def read(path: Path) -> _Reader:
    reader = _Reader()
    reader.feed(path.read_text())
    return reader


@pytest.fixture(scope="module")
def nights(tmp_path_factory) -> Path:
    """The output root of thirty nights, the last of which was rolled back."""
    output = tmp_path_factory.mktemp("nights") / "output"
    record_nights(output, NIGHTS)
    roll_back(output)
    return output


@pytest.fixture(scope="module")
def overview(nights) -> Overview:
    return overlook(OutputRoot(nights))


@pytest.fixture(scope="module")
def index(nights) -> Path:
    return write_index(OutputRoot(nights))


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """The page of 500 nights with 100 classes."""
    output = tmp_path_factory.mktemp("many") / "output"
    record_nights(output, 500, classes=100)
    return write_index(OutputRoot(output))


def entry(number: int, state: str = "blessed", **more) -> Entry:
    """A run on day `number` of 2026, on the span of that number."""
    day = datetime.datetime(2026, 1, 1, 3) + datetime.timedelta(days=number)
    span = {"name": str(number), "number": number, "version": 0}
    given = {"span": span, "place": "garments", "seconds": 60.0} | more
    return Entry(id=f"{day:%Y%m%d-%H%M%S}-000", started=int(day.timestamp() * 1000), state=state, **given)


def test_every_run_has_its_line_with_state_and_reasons(index, overview):
    page = read(index)
    for told in overview.entries:
        assert f"r{told.id}" in page.ids
    assert {told.state for told in overview.entries} == {
        "blessed",
        "not blessed",
        "data refused",
        "failed",
        "interrupted",
    }
    for told in overview.entries:
        assert f">{told.state}</span>" in index.read_text()
    for reason in (recorded_nights.REASON, recorded_nights.REFUSAL, recorded_nights.FAILURE, recorded_nights.WARNING):
        assert reason in page.text
    assert "the camera was cleaned" in page.text and "camera 2" in page.text


def test_accuracy_says_its_interval_and_on_how_many_images(index, overview):
    """Wilson's interval of 811 of 1,000, by hand: 0.811 + 1.96^2 / 2000 = 0.81292, and so on: 78.5 to 83.4."""
    told = next(e for e in overview.entries if e.state == "not blessed")
    right, total, z = round(told.accuracy * 1000), 1000, 1.959964
    share = right / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    reach = z * np.sqrt(share * (1 - share) / total + z * z / (4 * total**2)) / (1 + z * z / total)
    assert (told.low, told.high) == pytest.approx((middle - reach, middle + reach))
    line = re.search(rf'<tr id="r{told.id}".*?</tr>', index.read_text(), re.DOTALL).group()
    assert f"{100 * share:.2f}\u202f%" in line
    assert f"{100 * told.low:.1f}–{100 * told.high:.1f} of 1,000" in line


def test_links_lead_to_reports_that_are_there_and_to_nothing_else(nights, tmp_path):
    output = tmp_path / "output"
    shutil.copytree(nights, output, symlinks=True)
    gone, without = sorted(path.name for path in (output / "runs").iterdir())[:2]
    shutil.rmtree(output / "runs" / gone)
    (output / "runs" / without / "report.html").unlink()
    page = read(write_index(OutputRoot(output)))
    places = [link for link in page.links if not link.startswith("#")]
    assert len(set(places)) == NIGHTS - 2
    assert all((output / place).is_file() for place in places)
    assert {f"r{gone}", f"r{without}"} < page.ids
    assert {link[1:] for link in page.links if link.startswith("#r2")} <= page.ids


def test_page_asks_nothing_of_a_network(index):
    assert re.findall(r"https?:", index.read_text()) == []
    assert "default-src 'none'" in index.read_text()


def test_served_model_is_told_with_since_when_and_its_accuracy(nights, overview):
    """The last version was taken back by a rollback a minute behind it."""
    served = next(e for e in reversed(overview.entries[:-1]) if e.state == "blessed")
    words = str(state(overview))
    assert served.id in words and "by a rollback" in words and f"{100 * served.accuracy:.2f}" in words
    version = max(int(path.name) for path in (nights / "serving" / recorded_nights.NAME).iterdir())
    assert f"{datetime.datetime.fromtimestamp(version):%d %B %Y, %H:%M}" in words
    last = overview.entries[-1]
    assert served.is_served and served.periods[-1].until is None and len(served.periods) == 2
    assert last.standing == "taken back"
    assert any("A rollback of" in notice and last.id in notice for notice in to_look_at(overview))


def test_periods_of_before_what_the_folder_keeps_come_from_the_runs(nights, overview):
    root = OutputRoot(nights)
    periods = served_periods(root, Store(root.metadata).runs(), recorded_nights.NAME)
    blessed = [e for e in overview.entries if e.state == "blessed"]
    assert len(periods) == len(blessed) + 1
    assert [p.until for p in periods[:-1]] == [p.since for p in periods[1:]]
    for told, period in zip(blessed, periods, strict=False):
        assert period.since == told.started // 1000 + 60
    assert [p.is_rollback for p in periods] == [False] * len(blessed) + [True]
    assert served_periods(root, Store(root.metadata).runs(), "nobody") == []


def test_run_that_an_older_version_recorded_is_read_from_its_summary(tmp_path):
    record_nights(tmp_path / "output", 1)
    database = OutputRoot(tmp_path / "output").metadata
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("DELETE FROM ContextProperty WHERE name IN ('listed', 'span', 'window')")
        nodes = [{"id": "ExampleGen", "state": "skipped"}, {"id": "Trainer", "state": "ran"}]
        summary = json.dumps({"metrics": {"examples": 50}, "failure": None, "blessed": True, "nodes": nodes})
        connection.execute("UPDATE ContextProperty SET string_value = ? WHERE name = 'summary'", (summary,))
        connection.commit()
    (found,) = overlook(OutputRoot(tmp_path / "output")).entries
    assert (found.examples, found.state, found.span, found.part) == (50, "blessed", None, ("Trainer",))


def test_run_says_which_node_it_failed_in(overview):
    assert {told.node for told in overview.entries if told.state == "failed"} == {"ExampleGen"}


def test_record_without_what_came_later_has_nothing_to_list():
    assert listed({}) == {}
    assert listed({"metrics": None, "data": {"digest": None, "splits": None}, "failure": None, "gates": {}}) == {}


def test_reasons_are_those_of_the_gate_that_refused_and_what_is_long_is_cut():
    gate = {"result": "refused", "reasons": ["the data gate refuses the data:", *(f"error: {n}" for n in range(9))]}
    refused = {"failure": {"node": "DataGate", "message": "x", "exit_status": 3}, "gates": {"DataGate": gate}}
    assert listed(refused) == {"reasons": [*(f"error: {n}" for n in range(6)), "3 more"]}
    failed = {"failure": {"node": "Trainer", "message": "y" * 400, "exit_status": 1}, "gates": {}}
    (reason,) = listed(failed)["reasons"]
    assert reason.startswith("Trainer: yyy") and len(reason) == 300
    passed = {"gates": {"DataGate": {"result": "passed", "reasons": ["warning: a", "error: let pass", "no anomaly"]}}}
    assert listed(passed) == {"warnings": ["warning: a", "error: let pass"]}


def test_refusal_is_open_until_its_span_was_accepted():
    one, other = entry(1, "data refused"), entry(2, "data refused")
    assert open_refusals([one, entry(3), other]) == [one, other]
    admitted = entry(4, span={"name": "1", "number": 1, "version": 0, "admitted": True})
    assert open_refusals([one, other, admitted]) == [other]
    # What the run was stopped by behind the gate is another matter.
    stopped = dataclasses.replace(admitted, state="interrupted", accuracy=None, gate="passed")
    assert open_refusals([one, other, stopped]) == [other]
    assert open_refusals([one, other, dataclasses.replace(stopped, gate="")]) == [one, other]
    # So is a shard that was damaged behind it, which is told as a failure.
    damaged = dataclasses.replace(one, gate="passed", accuracy=None)
    assert open_refusals([damaged, other]) == [other]
    (told,) = to_look_at(Overview(entries=[entry(0), damaged], periods={}), damaged.started / 1000)
    assert "failed on span 1" in told
    plain = [entry(1, "data refused", span=None), entry(2, span=None)]
    assert open_refusals(plain) == []
    assert open_refusals(plain[:1]) == plain[:1]


def test_admitted_is_told_of_what_a_person_let_in_and_not_of_what_was_in_before():
    span = {"name": "1", "number": 1, "version": 0}
    for why, told in (("by name", 1), ("before", 0), ("", 0)):
        page = render(Overview(entries=[entry(1, span={**span, "admitted": why})], periods={}), "output")
        assert page.count('<span class="pill warn">admitted</span>') == told


def test_days_without_a_success_are_told_once_they_are_more_than_usual():
    entries = [entry(1), entry(2), entry(3, "failed", reasons=("no space",))]
    overview = Overview(entries=entries, periods={})
    start = entries[1].started / 1000
    assert patience(entries) == 3 * DAY
    assert not any("No run has succeeded" in told for told in to_look_at(overview, start + 2.9 * DAY))
    told = to_look_at(overview, start + 4.5 * DAY)
    assert "No run has succeeded for 4 days" in told[0]
    assert "failed on span 3: no space." in told[1]
    never = Overview(entries=[entry(1, "failed")], periods={})
    assert "No run has succeeded yet." in to_look_at(never, start)


def test_failure_that_a_later_run_made_good_is_no_longer_to_be_looked_at():
    failed = entry(1, "failed")
    for later in (entry(2, window=("1", "2")), entry(2, span=failed.span)):
        overview = Overview(entries=[failed, later], periods={})
        assert to_look_at(overview, later.started / 1000) == []
    overview = Overview(entries=[failed, entry(2, window=("2",))], periods={})
    assert len(to_look_at(overview, failed.started / 1000)) == 1


def told_after(*entries: Entry) -> list[str]:
    """What is to be looked at when the last of these has begun."""
    return list(map(str, to_look_at(Overview(entries=list(entries), periods={}), entries[-1].started / 1000)))


def test_part_of_the_dag_makes_good_what_it_did_and_nothing_else():
    failed = entry(2, "failed", node="Trainer")
    up_to = {"span": failed.span, "gate": "passed"}
    for part in ((), ("ExampleGen", "StatisticsGen"), ("ExampleGen", "DataGate", "Transform")):
        (told,) = told_after(entry(1), failed, entry(3, "done", part=part, **up_to))
        assert f"{failed.id}</a> failed on span 2" in told
    assert told_after(entry(1), failed, entry(3, "done", part=("Trainer", "Exporter"), **up_to)) == []
    # As a night takes a span up: to the gate.
    unread = entry(2, "failed", node="ExampleGen")
    assert told_after(entry(1), unread, entry(3, "done", part=("ExampleGen", "DataGate"), **up_to)) == []
    # What was interrupted nobody knows where needs a whole run.
    stopped = dataclasses.replace(unread, state="interrupted", node="")
    assert len(told_after(entry(1), stopped, entry(3, "done", part=("ExampleGen", "DataGate"), **up_to))) == 1


def test_part_that_asks_no_data_gate_accepts_no_data():
    refused = entry(2, "data refused", span=None)
    evaluated = {"part": ("Trainer", "Evaluator"), "accuracy": 0.9, "span": None}
    for later in (entry(3, "done", span=None), entry(3, "done", span=None, part=("ExampleGen",))):
        assert open_refusals([refused, later]) == [refused]
    # On data of before.
    assert open_refusals([refused, entry(3, **evaluated)]) == [refused]
    assert open_refusals([refused, entry(3, "done", span=None, part=("ExampleGen", "DataGate"), gate="passed")]) == []


def test_part_of_the_dag_hides_neither_days_without_a_model_nor_verdict_nor_warnings():
    *before, part = (entry(n, "done", images=9, part=("ExampleGen", "StatisticsGen")) for n in range(1, 6))
    (told,) = told_after(entry(0), entry(1), *before[1:], part)
    assert told.startswith("No run has succeeded for 4 days")
    assert told_after(*before, part) == []
    worse = entry(4, "not blessed", reasons=("too weak",))
    assert f"{worse.id}</a> was not blessed: too weak." in told_after(entry(3), worse, part)[0]
    warned = entry(4, images=9, gate="passed", warnings=("warning: drift",))
    (told,) = told_after(warned, part)
    assert told.startswith("The latest data were let through with 1 warning")


def test_list_has_the_nodes_of_a_part_and_where_a_run_was_stopped():
    def nodes(**states: str) -> dict:
        return {"nodes": [{"id": name, "state": state} for name, state in states.items()]}

    assert listed(nodes(ExampleGen="cached", DataGate="ran", Trainer="skipped")) == {"part": ["ExampleGen", "DataGate"]}
    assert listed(nodes(ExampleGen="ran", DataGate="ran")) == {}
    assert listed(nodes(ExampleGen="ran", DataGate="interrupted", Trainer="skipped")) == {"node": "DataGate"}
    assert listed(nodes(ExampleGen="running", DataGate="waiting")) == {"node": "ExampleGen"}


def test_nothing_to_look_at_is_said(tmp_path):
    told = entry(1, accuracy=0.9, low=0.88, high=0.92, examples=1000, content="a", standing="champion")
    period = Period(content="a", since=told.started // 1000 + 60, until=None, is_rollback=False)
    page = render(Overview(entries=[told], periods={"garments": [period]}), "output", now=told.started / 1000 + 90)
    assert "all in order" in page and 'id="look"' not in page


def test_what_a_person_or_a_path_says_is_text_and_no_markup():
    evil = "<script>alert(1)</script>"
    told = entry(
        1, "failed", note=evil, tags=(evil,), reasons=(evil,), place=evil, labels={evil: 3}, pixels={"mean": 1.0}
    )
    page = render(Overview(entries=[told, entry(2, place=evil, labels={evil: 30})], periods={}), evil)
    assert evil not in page and "&lt;script&gt;alert" in page


def test_share_that_doubles_stands_out_and_chance_does_not():
    usual = {"bag": 100, "boot": 900}
    taken = [entry(n, labels=usual | {"bag": 100 + n}) for n in range(5)]
    taken.append(entry(5, "data refused", labels={"bag": 200, "boot": 800}))
    found = shares(columns(taken))
    assert found.names == ["bag", "boot"]
    # The median of 100/1000 to 104/1004; the refused span does not count.
    assert found.usual[0] == pytest.approx(102 / 1002)
    assert [(name, column) for name, column, *_ in found.shifts] == [("bag", 5)]
    assert found.shifts[0][2] == 0.2


def test_new_class_and_a_span_without_labels_are_borne():
    taken = [
        entry(0, labels={"bag": 100}),
        entry(1, pixels={"mean": 70.0}),
        entry(2, labels={"bag": 100}),
        entry(3, labels={"bag": 100, "hat": 100}),
    ]
    found = shares(columns(taken))
    assert found.shares[:, 1].tolist() == [0, 0]
    assert ("hat", 3, 0.5, 0.0) in found.shifts
    assert shares(columns(taken[:2])) is None


def test_corrected_version_of_a_span_is_a_column_beside_it_and_the_last_run_counts():
    corrected = entry(3, span={"name": "1", "number": 1, "version": 1}, pixels={"mean": 3.0})
    found = columns([entry(1, pixels={"mean": 1.0}), entry(2, pixels={"mean": 2.0}), corrected])
    assert [e.pixels["mean"] for e in found] == [1.0, 3.0, 2.0]


def test_data_set_that_comes_again_is_the_last_column():
    taken = [
        entry(day, span=None, digest=digest, pixels={"mean": mean, "std": 1.0})
        for day, digest, mean in ((1, "a", 70.0), (2, "b", 90.0), (3, "a", 70.0))
    ]
    found = columns(taken)
    assert [e.pixels["mean"] for e in found] == [90.0, 70.0]
    assert pixels(found)[0]["last"] == 70.0


def test_chart_places_values_and_keeps_round_ticks():
    x, y = (lambda n: 100.0 * n), (lambda v: 10.0 * v)
    assert dots("a", {1: 2.0})(x, y) == '<path class="dot a" d="M100.0 20h.01"/>'
    assert steps("a", [(0, 1, 5), (1, 2, 7), (3, 4, 7)])(x, y) == (
        '<path class="a" d="M0.0 50H100.0V70H200.0M300.0 70H400.0"/>'
    )
    assert nice(0.862, 0.941) == [0.88, 0.9, 0.92, 0.94]
    assert nice(0, 805) == [0, 200, 400, 600, 800]


def test_accuracy_far_below_the_others_does_not_flatten_them():
    values = [0.90, 0.91, 0.92, 0.91, 0.10]
    entries = [entry(n, accuracy=v, low=v - 0.01, high=v + 0.01, examples=1000) for n, v in enumerate(values)]
    (part,) = accuracies(Overview(entries=entries, periods={}))
    assert part["far"] == 1
    assert "94\u202f%" not in part["chart"] and ">90\u202f%<" in part["chart"] and ">10\u202f%<" not in part["chart"]


def test_command_writes_the_page_and_takes_no_run_beside_it(nights, tmp_path, capsys):
    assert main(["--index", "--output-root", str(nights)]) == 0
    assert capsys.readouterr().out == f"{nights / 'index.html'}\n"
    with pytest.raises(SystemExit, match="2"):
        main(["latest", "--index"])
    assert "--index is about all runs" in capsys.readouterr().err
    assert main(["--index", "--output-root", str(tmp_path)]) == InputError.exit_status
    assert "expected a database of ML Metadata, found none" in capsys.readouterr().err


def test_command_whose_page_cannot_be_written_ends_2_in_one_line(nights, tmp_path, capsys):
    output = shutil.copytree(nights, tmp_path / "output")
    OutputRoot(output).index.unlink(missing_ok=True)
    OutputRoot(output).index.mkdir()
    assert main(["--index", "--output-root", str(output)]) == 2
    told = f"pipeline.report: {output}/index.html: cannot be written (Is a directory). Free some space or mend its "
    assert capsys.readouterr() == ("", f"{told}permissions, and repeat.\n")
    assert not list(output.glob(".*.partial"))


def test_page_that_cannot_be_written_is_one_line_and_no_failure(monkeypatch, tmp_path, capfd):
    def fail(*_: object) -> None:
        raise ValueError("a bug of ours\nin two lines")

    monkeypatch.setattr(index_page, "write_index", fail)
    with Console(tmp_path / "log.txt") as console:
        assert write_index_if_possible(OutputRoot(tmp_path), console) is None
    assert capfd.readouterr() == ("", "no page of all runs: ValueError: a bug of ours\n")
    assert "Traceback" in (tmp_path / "log.txt").read_text()


def test_output_root_is_measured_with_each_file_once(tmp_path):
    (tmp_path / "runs").mkdir()
    before = OutputRoot(tmp_path).bytes_on_disk()
    (tmp_path / "runs" / "one").write_bytes(bytes(1_000_000))
    (tmp_path / "two").hardlink_to(tmp_path / "runs" / "one")
    (tmp_path / "link").symlink_to("two")
    assert before == 0
    assert 1_000_000 <= OutputRoot(tmp_path).bytes_on_disk() < 1_020_000


def test_page_without_runs_says_so():
    page = render(Overview(entries=[], periods={}), "output")
    assert "No model is served. There is no run yet." in page and "all in order" not in page


@pytest.mark.slow
def test_page_of_500_runs_is_below_two_megabytes_with_all_of_them(many):
    assert len(many.read_bytes()) < 2_000_000
    assert len(re.findall('<tr id="r', many.read_text())) == 500
    assert re.findall(r"https?:", many.read_text()) == []


@pytest.fixture
def opened(chromium, index) -> Iterator:
    """Opens a page at a width; afterwards, that the console stayed empty and nothing else was asked for."""
    said, asked, pages = [], [], []

    def open_at(width: int, path: Path = index, **more):
        page = chromium.new_page(viewport={"width": width, "height": 900}, **more)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        pages.append(page)
        return page

    yield open_at
    for page in pages:
        page.close()
    assert said == []
    assert {url.split("#")[0] for url in asked if not url.startswith("data:")} == {
        page.url.split("#")[0] for page in pages
    }


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("amount", ["thirty", "many"])
def test_page_is_no_wider_than_the_screen(opened, index, many, amount, width):
    page = opened(width, {"thirty": index, "many": many}[amount])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("accuracy", "drift", "cost", "table"):
        box = page.locator(f"section#{name}").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width, name
    cut = (
        "[...document.querySelectorAll('td, li, p, .tile, .legend')].filter(e => e.offsetParent && "
        "e.getBoundingClientRect().right > innerWidth).map(e => e.innerText)"
    )
    assert page.evaluate(cut) == []


@pytest.mark.slow
def test_table_is_filtered_sorted_and_unfolded(opened, many, overview):
    page = opened(1400)
    visible = page.locator("tbody tr:visible")
    expect(visible).to_have_count(NIGHTS)
    page.select_option("#by-state", "failed")
    expect(visible).to_have_count(sum(e.state == "failed" for e in overview.entries))
    page.select_option("#by-state", "")
    page.fill("input[type=search]", "CAMERA cleaned")
    expect(visible).to_have_count(3)
    page.fill("input[type=search]", "")
    page.get_by_role("button", name="test accuracy").click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("test accuracy")
    best = max(e.accuracy for e in overview.entries if e.accuracy is not None)
    expect(visible.first).to_contain_text(f"{100 * best:.2f}")
    page = opened(390, many)
    expect(page.locator("tbody tr:visible")).to_have_count(50)
    page.locator("button.more").click()
    expect(page.locator("tbody tr:visible")).to_have_count(250)


@pytest.mark.slow
def test_chart_tells_of_the_column_under_the_pointer_and_leads_to_its_line(opened, overview):
    page = opened(1400)
    for name, place, words in (
        ("#accuracy", 11, ["not blessed", "of 1,000"]),
        ("#drift .heat", 5, ["span 6", "usually"]),
        ("#cost", 7, ["failed"]),
    ):
        plot = page.locator(f"{name} .plot").first
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        page.mouse.move(box["x"] + box["width"] * (place + 0.5) / NIGHTS, box["y"] + box["height"] / 2)
        for word in words:
            expect(plot.locator(".readout")).to_contain_text(word)
        page.mouse.down()
        page.mouse.up()
        expect(page.locator("tr.chosen")).to_have_id(f"r{overview.entries[place].id}")
    page.locator("#accuracy .chart").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#accuracy .readout")).to_contain_text("span 30")


@pytest.mark.slow
def test_menu_leads_to_the_head_of_a_section_and_leaves_the_chosen_line(opened, many):
    page = opened(1400, many)
    # Where it leads to is seen at once.
    page.add_style_tag(content="html { scroll-behavior: auto; }")
    plot = page.locator("#cost .plot").first
    plot.scroll_into_view_if_needed()
    plot.click()
    expect(page.locator("tr.chosen")).to_have_count(1)
    for name in ("table", "drift"):
        page.locator(f"nav a[href='#{name}']").click()
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
        box = page.locator(f"#{name} h2").bounding_box()
        assert 0 <= box["y"] < 450, name
        expect(page.locator("tr.chosen")).to_have_count(1)


@pytest.mark.slow
def test_chart_tells_of_its_own_runs_whatever_their_name(opened, tmp_path):
    """A folder of spans is often called so; what a chart is about must not be taken for it."""
    places = ("spans", "runs", "garments", "spans", "runs")
    entries = [entry(n, accuracy=0.9 + n / 100, examples=1000, place=place) for n, place in enumerate(places)]
    path = tmp_path / "index.html"
    path.write_text(render(Overview(entries=entries, periods={}), "output", now=entries[-1].started / 1000 + 90))
    page = opened(1400, path)
    for place, number in (("spans", 3), ("runs", 4)):
        chart = page.locator(f"#accuracy .chart[aria-label*=' of {place},']")
        chart.focus()
        page.keyboard.press("ArrowLeft")
        expect(chart.locator(".readout")).to_contain_text(f"{90 + number}.00")
        page.keyboard.press("Enter")
        expect(page.locator("tr.chosen")).to_have_id(f"r{entries[number].id}")


@pytest.mark.slow
def test_page_is_readable_without_its_script(chromium, index):
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 390, "height": 900})
    page = context.new_page()
    page.goto(index.as_uri())
    expect(page.locator("tbody tr:visible")).to_have_count(NIGHTS)
    expect(page.locator(".tools")).to_be_hidden()
    expect(page.locator("#accuracy .chart")).to_be_visible()
    context.close()


@pytest.mark.slow
def test_page_follows_a_dark_system(opened):
    page = opened(1400, color_scheme="dark")
    colors = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    back, text = (sum(map(int, color[4:-1].split(","))) for color in colors)
    assert back < 150 < 500 < text


@pytest.mark.slow
def test_old_page_says_that_runs_no_longer_start(opened, tmp_path):
    """What nobody made again cannot know it: the browser's clock does."""
    told = entry(1, accuracy=0.9, low=0.88, high=0.92, examples=1000)
    path = tmp_path / "index.html"
    path.write_text(render(Overview(entries=[told], periods={}), "output", now=told.started / 1000 + 90))
    page = opened(390, path)
    expect(page.locator("#stale")).to_contain_text(re.compile(r"No run has succeeded for \d+ days"))
    expect(page.locator("#verdict")).to_have_text("1 thing to look at")


@pytest.mark.slow
def test_real_run_ends_with_the_page_and_the_size_of_its_output_root(smoke_output):
    (summary,) = smoke_output.glob("runs/*/summary.json")
    kept = json.loads(summary.read_text())
    assert 1_000_000 < kept["disk_bytes"] <= OutputRoot(smoke_output).bytes_on_disk()
    page = read(smoke_output / "index.html")
    assert f"runs/{kept['run_id']}/report.html" in page.links
    assert f"{100 * kept['metrics']['test_accuracy']:.2f}\u202f%" in page.text
