"""Some nights of the scenario that `make nights` plays, in processes of their own, on fewer images."""

import dataclasses
import json
import re

import pytest

from benchmarks.nights.playing import Nights
from benchmarks.nights.scenario import scenario
from benchmarks.nights.tables import describe
from pipeline.metadata.store import Store
from pipeline.output_root import OutputRoot

pytestmark = [pytest.mark.slow, pytest.mark.faults]

# The first, no data, inverted images, a kill while it trains, a new class, and that admitted by name.
DAYS = (1, 3, 5, 11, 20, 21)
SETTINGS = (
    "training.epochs=2",
    "training.network.widths=[16]",
    "training.network.blocks=[0]",
    "training.network.pools=[true]",
    "floors.accuracy=0.3",
    "accuracy_tolerance=0.5",
    "gate.agreement_drop=0.3",
)


@pytest.fixture(scope="module")
def mornings(tmp_path_factory):
    nights = [night for night in scenario() if night.day in DAYS]
    # No night between the kill and the new class makes up for the training that was killed: that one does.
    made_up = {"status": 0, "trains": True, "serves": True}
    nights = [dataclasses.replace(night, **made_up) if night.day == 20 else night for night in nights]
    played = Nights(tmp_path_factory.mktemp("nights"), size=500, settings=SETTINGS, flags=("--window", "3"))
    return {morning.night.day: morning for morning in played.play(nights)}, played.root


def test_each_night_ends_as_it_should(mornings):
    found, _ = mornings
    assert {day: morning.odd for day, morning in found.items()} == {day: () for day in DAYS}, describe(
        [*found.values()]
    )


def test_a_night_without_data_runs_nothing_and_says_so(mornings):
    found, root = mornings
    assert found[3].runs == ()
    log = (root.path.parent / "night-03.log").read_text()
    assert "nothing new at " in log
    assert "the latest span is 2026-09-01" in log


def test_what_was_killed_is_trained_on_the_next_time(mornings):
    found, _ = mornings
    (killed,) = found[11].runs
    assert killed["state"] in ("running", "interrupted")
    # The next span is refused; the training that is due is made up for.
    refused, trained = found[20].runs
    assert (refused["state"], trained["state"]) == ("data refused", "done")
    assert [span["name"] for span in trained["window"]] == ["2026-09-01", "2026-09-11"]
    (*_, last) = found[21].runs
    assert [span["name"] for span in last["window"]] == ["2026-09-11", "2026-09-20", "2026-09-21"]
    assert [span["examples"] for span in last["window"]] == [
        sum(run["data"]["splits"].values())
        for run in (killed, *(run for run in found[21].runs if run["span"]["name"] > "2026-09-19"))
    ]


def test_an_admission_is_recorded_and_the_new_class_is_served(mornings):
    found, root = mornings
    admitted = next(run for run in found[21].runs if run["span"]["name"] == "2026-09-20")
    assert admitted["span"]["admitted"] == "by name"
    assert any("'Bag' is new" in reason for reason in admitted["gates"]["DataGate"]["reasons"])
    (*_, last) = found[21].runs
    card = json.loads((OutputRoot(root.path).path / last["served_model"] / "assets.extra" / "model.json").read_text())
    assert card["class_names"][-1] == "Bag"
    assert len(card["class_names"]) == 10
    assert set(last["metrics"]["slices"]["span"]) == {"2026-09-11", "2026-09-20", "2026-09-21"}


def test_the_page_of_all_runs_tells_what_was_refused_and_why(mornings):
    found, root = mornings
    page = (root.path / "index.html").read_text()
    for day in (5, 20):
        assert f"2026-09-{day:02d}" in page
    assert "brightness" in page
    assert re.search("&#39;Bag&#39; is new|'Bag' is new", page)
    runs = Store(root.metadata).runs()
    assert {run.properties["state"] for run in runs} == {"done", "data refused", "interrupted"}
    assert dataclasses.asdict(found[5])["status"] == 3
