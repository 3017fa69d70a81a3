"""The points of a sweep, and what is told of them, against figures worked out by hand."""

import csv
import dataclasses
import errno
import fcntl
import functools
import re
import shlex

import pytest

from benchmarks.recorded_runs import RecordedRuns
from components.errors import BusyError, InputError
from models.trials import Outcome
from pipeline.config import PipelineConfig
from pipeline.output_root import OutputRoot
from pipeline.presets import preset
from pipeline.run.code_digest import ROOT
from pipeline.run.monitoring import write_metrics
from pipeline.settings import Settings
from pipeline.sweep import __main__ as command
from pipeline.sweep import trainings
from pipeline.sweep.__main__ import main
from pipeline.sweep.factors import Factor, Point, plan, read_factor, read_point
from pipeline.sweep.page import render_table, write_page
from pipeline.sweep.results import Row, importance, read_csv, summarize, write_csv
from pipeline.sweep.words import words

BASE = PipelineConfig()
SHIFT = Point((("training.shift", 1),))
ADAM = Point((("training.optimizer", "adam"),))


def row(point: Point, seed: int, accuracy: float, rate: float = 100.0, cost: int = 10) -> Row:
    return Row(
        point=point,
        seed=seed,
        val_accuracy=accuracy,
        seconds=3600.0,
        cpu_seconds=200.0 / rate,
        examples_per_second=rate,
        parameters=5,
        multiply_adds=cost,
    )


ROWS = [
    row(Point(), 1, 0.90),
    row(Point(), 2, 0.92),
    row(SHIFT, 1, 0.93, rate=50.0),
    row(SHIFT, 2, 0.97, rate=50.0),
    row(ADAM, 1, 0.90, cost=30),
    row(ADAM, 2, 0.92, cost=30),
]


def test_factor_has_the_presets_value_first_and_typed_values_once_each():
    assert read_factor("training.shift=2,0,1,2", BASE) == Factor("training.shift", (0, 2, 1))
    assert read_factor("training.flip=false", BASE).values == (None, False)


def test_values_of_a_list_are_in_brackets():
    found = read_factor("training.network.widths=[16,32,64],[8,8,8]", BASE)
    assert found.values == ((32, 64, 128), (16, 32, 64), (8, 8, 8))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("training.shift", "training.shift: expected FIELD=V1,V2,..., found no values"),
        ("training.shfit=1", "no such setting; the nearest is training.shift"),
        ("training.shift=one", "training.shift=one: training.shift: expected a whole number, found 'one'"),
        ("kept_versions=3", "expected a setting below training. or image_encoding, compression, "),
    ],
)
def test_what_is_no_factor_is_refused_in_a_line(text, told):
    with pytest.raises(InputError) as error:
        read_factor(text, BASE)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_plan_changes_one_setting_at_a_time_and_both_of_a_pair():
    factors = [Factor("training.shift", (0, 1, 2)), Factor("training.erase", (0, 4))]
    points = plan(BASE, factors, [("training.shift", "training.erase")], [Point((("training.warmup", 0.1),))])
    assert [dict(point.changes) for point in points] == [
        {},
        {"training.shift": 1},
        {"training.shift": 2},
        {"training.erase": 4},
        {"training.shift": 1, "training.erase": 4},
        {"training.shift": 2, "training.erase": 4},
        {"training.warmup": 0.1},
    ]


def test_pair_of_what_is_no_factor_is_refused():
    with pytest.raises(InputError, match=r"expected two of training\.shift, found training\.erase"):
        plan(BASE, [Factor("training.shift", (0, 1))], [("training.shift", "training.erase")])


@pytest.mark.parametrize("pair", [("training.shift", "training.shift"), ("training.shift",)])
def test_pair_of_one_setting_is_refused(pair):
    with pytest.raises(InputError, match="expected two settings, FIELD,FIELD, found one"):
        plan(BASE, [Factor("training.shift", (0, 1, 2))], [pair])


STREAMED = Point((("training.input.cached", False),))


def test_streamed_images_beside_a_preset_that_prunes_are_refused_with_the_way_out():
    pruning = dataclasses.replace(BASE, training=dataclasses.replace(BASE.training, prune=0.4))
    with pytest.raises(InputError) as error:
        plan(pruning, [Factor("training.input.cached", (True, False))])
    assert str(error.value) == (
        "input.cached=false: expected training.prune=0 with another training.input.cached, found 0.4: of images that "
        "are streamed none is left out of a pass, so that the trainings would not be alike. Give --set "
        "training.prune=0."
    )
    # The preset is compared with as well, and it may be the one that streams.
    with pytest.raises(InputError, match=r"^input\.cached=false, prune=0\.0: .* Give --set training\.prune=0\.$"):
        plan(pruning, [], further=[Point((*STREAMED.changes, ("training.prune", 0.0)))])
    with pytest.raises(InputError, match=r"^input\.cached=true: expected training\.prune=0 with another"):
        plan(STREAMED.config(pruning), [Factor("training.input.cached", (False, True))])


def test_pruning_of_images_that_are_streamed_is_refused_for_it_does_nothing():
    with pytest.raises(InputError, match=r"^prune=0\.4: expected training\.prune as it is where images are streamed"):
        plan(STREAMED.config(BASE), [Factor("training.prune", (0.0, 0.4))])


def test_streamed_images_and_pruning_are_tried_apart_alone():
    factors = [Factor("training.input.cached", (True, False)), Factor("training.prune", (0.0, 0.4))]
    assert plan(BASE, factors) == [Point(), STREAMED, Point((("training.prune", 0.4),))]
    with pytest.raises(InputError, match=r"^input\.cached=false, prune=0\.4: .*, found 0\.4: .* Try the two apart\.$"):
        plan(BASE, factors, [("training.input.cached", "training.prune")])


def commands_of_the_documents() -> list[str]:
    """Returns the sweeps that the documents have as commands."""
    found = re.findall(r"^ +python -m pipeline\.sweep (.*)$", command.__doc__, re.MULTILINE)
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        found += re.findall(r"^    python -m pipeline\.sweep (.*)$", document.read_text(), re.MULTILINE)
    return found


@pytest.mark.parametrize("text", commands_of_the_documents())
def test_sweep_of_the_documents_is_not_refused(text, monkeypatch):
    asked = []
    # Before any training.
    monkeypatch.setattr(command, "_train", lambda _, points, __: asked.extend(points) or ROWS)
    monkeypatch.setattr("pipeline.sweep.page.write_page", lambda *_, **__: None)
    assert main(shlex.split(text, comments=True)) == 0
    assert len(asked) > 1


def test_seed_is_no_factor():
    with pytest.raises(InputError, match=r"^training\.seed=1,2: expected a setting that is no seed\. --seeds N"):
        read_factor("training.seed=1,2", BASE)


@pytest.mark.parametrize(
    "text", ["training.warm_start=true", "training.warm_epochs=1,3", "training.warm_rate=0.2"], ids=lambda t: t[9:]
)
def test_setting_of_a_warm_start_is_no_factor(text):
    told = (
        "expected a setting of a training that begins anew, as each of a sweep does, found one of a warm start. Leave"
    )
    for read in (read_factor, read_point):
        with pytest.raises(InputError) as error:
            read(text, BASE)
        assert str(error.value) == f"{text}: {told} it out."


def test_sweep_around_a_warm_start_is_refused_before_any_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "_train", lambda *_: ROWS)
    assert main(["training.shift=1", "--set", "training.warm_start=true", "--output-root", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        "sweep: --set training.warm_start=true: expected false, found true: each training of a sweep begins anew. "
        "Leave it out.\n"
    )
    assert not (tmp_path / "out").exists()


def test_point_of_several_values_of_a_setting_is_refused():
    with pytest.raises(InputError, match=r"^--point training\.shift=1,2: expected one value of each setting"):
        read_point("training.shift=1,2", BASE)


@pytest.mark.parametrize("page", ["page.csv", "page.png", ".", "file/page.md"])
def test_page_that_cannot_be_written_is_refused_before_any_training(tmp_path, page, capsys):
    (tmp_path / "file").touch()
    assert main(["training.shift=1", "--page", str(tmp_path / page)]) == 2
    assert capsys.readouterr().err.startswith(f"sweep: --page {tmp_path / page}: expected ")


@pytest.mark.slow
def test_network_that_is_not_registered_is_refused_before_any_training(tmp_path, capsys):
    assert main(["training.network.kind=vgg", "--output-root", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith('sweep: network.kind="vgg": training.network.kind: expected ')
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_output_root_that_cannot_be_written_is_refused_before_any_training(tmp_path, capsys):
    (tmp_path / "out").write_text("precious")
    assert main(["training.shift=1", "--output-root", str(tmp_path / "out")]) == 2
    told = f"sweep: {tmp_path / 'out'}: cannot be written (Not a directory). Choose another --output-root.\n"
    assert capsys.readouterr().err == told
    assert (tmp_path / "out").read_text() == "precious"


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_page_on_a_full_disk_is_told_in_a_line_behind_what_came_of_the_sweep(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "_train", lambda *_: ROWS)
    monkeypatch.setattr("pipeline.sweep.page.write_text", full)
    assert main(["training.shift=1", "--output-root", str(tmp_path), "--page", str(tmp_path / "page.md")]) == 2
    told = capsys.readouterr()
    reason = f"sweep: {tmp_path / 'page.md'}: cannot be written (No space left on device). Free some space or mend its "
    assert told.err == f"{reason}permissions, and run it again: each training is remembered.\n"
    assert words(ROWS)[0] in told.out


@pytest.mark.slow
def test_disk_that_is_full_between_two_trainings_is_told_in_a_line(tmp_path, monkeypatch, capfd):
    def one_and_then_full(*_: object, **__: object):
        yield Outcome(val_accuracy=0.9, curve=(0.9,), seconds=1.0, cpu_seconds=1.0)
        full()

    monkeypatch.setattr(trainings, "prepare", lambda *_: None)
    monkeypatch.setattr(trainings, "trainings", one_and_then_full)
    assert main(["training.shift=1", "--output-root", str(tmp_path / "out")]) == 2
    told = "sweep: something could not be written (No space left on device). Free some space, and run again.\n"
    found = capfd.readouterr()
    assert found.err == told
    assert "1 of 6: 90.00 %, seed 42, as it is" in found.out


def failed(point: Point, seed: int) -> Row:
    nothing = {"seconds": 1.0, "cpu_seconds": 1.0, "examples_per_second": 0.0, "parameters": 0, "multiply_adds": 0}
    return Row(point=point, seed=seed, val_accuracy=0.0, failed="the training loss is nan after epoch 1", **nothing)


def test_training_that_failed_is_told_and_is_no_measure_of_time(tmp_path):
    fast = Point((("training.learning_rate", 1000.0),))
    rows = [*ROWS[:4], failed(SHIFT, 3), row(Point(), 3, 0.91), *(failed(fast, seed) for seed in (1, 2, 3))]
    summaries = summarize(rows)
    assert [(summary.failed, summary.count) for summary in summaries] == [(0, 3), (1, 3), (3, 3)]
    assert (summaries[1].time, summaries[1].cost) == (2.0, 1.0)
    table = render_table(summaries).splitlines()
    assert table[3].startswith("| shift=1 (1 of 3 failed) | 3 | 63.33 ")
    assert table[4].startswith("| learning_rate=1000.0 (3 of 3 failed) | 3 | 0.00 ")
    assert table[4].endswith("|  |  |")
    assert any("`learning_rate`: 1000.0 -91.00 ± 0.58 points (3 of 3 trainings failed)" in line for line in words(rows))
    write_page(tmp_path / "page.md", rows, preset="fast", command="")
    assert read_csv(tmp_path / "page.csv") == rows


def test_training_that_failed_hides_no_difference_of_others_and_is_told():
    rows = [*TOLD, *(row(ADAM, seed, 0.9) for seed in (0, 1)), failed(ADAM, 2)]
    told = words(rows)
    assert told[0] == '**Failed**, and counted as nothing right: `optimizer="adam"` (1 of 3).'
    assert told[1].startswith("**Better than the preset.** `shift=1`, +1.10 ")
    assert "`optimizer`" not in told[3]


def of_three_seeds(point: Point, *accuracies: float) -> list[Row]:
    """Returns the trainings of a point; the one with an accuracy of 0 failed."""
    return [row(point, n, share) if share else failed(point, n) for n, share in enumerate(accuracies)]


def test_training_of_the_preset_that_failed_hides_no_difference():
    better, worse = of_three_seeds(SHIFT, 0.920, 0.921, 0.922), of_three_seeds(ADAM, 0.800, 0.801, 0.802)
    rows = [*of_three_seeds(Point(), 0.900, 0.902, 0), *better, *worse]
    told = words(rows)
    assert told[0] == (
        "**Failed**, and counted as nothing right: `as it is` (1 of 3). "
        "With a seed that the preset failed with nothing is compared."
    )
    # 0.020 and 0.019, and -0.100 and -0.101: deviations of 0.0005 * sqrt(2), over sqrt(2).
    assert told[1].startswith("**Better than the preset.** `shift=1`, +1.95 ± 0.05 points, ")
    assert told[2] == '**Costs accuracy**, the most first. `optimizer`: "adam" -10.05 ± 0.05 points.'
    assert "| **+1.95** | 0.05 |" in render_table(summarize(rows))
    # Where it failed once, each change would explain why it did not.
    assert importance(rows) == importance([line for line in rows if not line.failed])


def test_sweep_whose_preset_always_fails_calls_nothing_a_difference(tmp_path):
    rows = [*of_three_seeds(Point(), 0, 0, 0), *of_three_seeds(SHIFT, 0.92, 0.921, 0.922)]
    told = words(rows)
    assert told[0].endswith("`as it is` (3 of 3). With a seed that the preset failed with nothing is compared.")
    assert told[1] == "**Better than the preset.** Nothing that was tried, by more than noise."
    assert "shift" not in " ".join(told)
    write_page(tmp_path / "page.md", rows, preset="fast", command="")
    assert "| shift=1 | 3 | 92.10 ± 0.10 |  |  |  |  |" in (tmp_path / "page.md").read_text()


def test_measured_sweep_tells_what_the_input_takes_and_calls_no_other_order_better():
    streamed, png = Point((("training.input.cached", False),)), Point((("image_encoding", "png"),))
    slow = dataclasses.replace(row(png, 1, 0.9, rate=50.0), peak_mib=1200.0, disk_mib=30.0, input_share=0.2)
    rows = [
        dataclasses.replace(row(Point(), 1, 0.9), peak_mib=1000.0, disk_mib=40.0, input_share=0.01),
        dataclasses.replace(row(streamed, 1, 0.95), peak_mib=900.0, disk_mib=40.0, input_share=0.1),
        slow,
        dataclasses.replace(row(Point(), 2, 0.9), peak_mib=1000.0, disk_mib=40.0, input_share=0.01),
        dataclasses.replace(row(streamed, 2, 0.951), peak_mib=900.0, disk_mib=40.0, input_share=0.1),
        # Beside something else: the other one counts.
        dataclasses.replace(slow, seed=2, examples_per_second=10.0),
    ]
    told = words(rows)
    assert told[0] == (
        '**Images a second.** `image_encoding="png"` 0.50 times. A step waits for input for at most 20.0 % of its time '
        '(`image_encoding="png"`). **Memory at the most:** 900 to 1,200 MiB. **Bytes on disk:** `image_encoding="png"` '
        "0.75 times."
    )
    assert told[2] == "**Better than the preset.** Nothing that was tried, by more than noise."
    assert told[3] == "**Costs accuracy**, the most first. Nothing that was tried."


def test_one_seed_is_called_too_few():
    assert words([ROWS[0], ROWS[2]])[0].startswith("**One seed only.** How far seeds lie apart is not known")


def test_sweep_whose_preset_fails_has_a_page_all_the_same(tmp_path):
    write_page(tmp_path / "page.md", [failed(Point(), 1), row(SHIFT, 1, 0.5)], preset="fast", command="")
    assert "| as it is (1 of 1 failed) | 1 | 0.00 |" in (tmp_path / "page.md").read_text()


def test_page_of_the_preset_alone_is_written(tmp_path):
    write_page(tmp_path / "page.md", ROWS[:1], preset="fast", command="")
    assert "Nothing that was tried" in (tmp_path / "page.md").read_text()


def test_values_that_do_not_go_together_are_refused_before_any_training():
    with pytest.raises(InputError, match="expected one entry a stage"):
        plan(BASE, [Factor("training.network.widths", ((1, 2, 3), (16, 32)))])


def test_point_of_several_changes_makes_a_configuration():
    point = read_point("training.optimizer=adam training.network.widths=[16,32,64]", BASE)
    config = point.config(BASE)
    assert (config.training.optimizer, config.training.network.widths) == ("adam", (16, 32, 64))
    assert str(point) == 'optimizer="adam", network.widths=[16, 32, 64]'


def test_point_with_another_optimizer_has_its_rate_and_not_that_of_the_preset():
    best, own = preset("best"), preset("best").training.learning_rate
    rates = [
        point.config(best).training.peak_rate
        for point in plan(best, [read_factor("training.optimizer=adam,sgd", best)])
    ]
    assert rates == [own, 0.002, 0.05]
    # One that was given is of all of them.
    given = dataclasses.replace(best, training=dataclasses.replace(best.training, learning_rate=0.01))
    assert read_point("training.optimizer=adam", best).config(given).training.peak_rate == 0.01
    both = read_point("training.optimizer=adam training.learning_rate=0.003", best)
    assert both.config(best).training.peak_rate == 0.003


def test_summary_compares_seed_by_seed():
    base, shift, adam = summarize(ROWS)
    assert (base.difference, base.count) == (0.0, 2)
    assert base.spread == pytest.approx(0.02 / 2**0.5)
    # 0.03 and 0.05: mean 0.04, standard deviation 0.01 * sqrt(2), over sqrt(2).
    assert (shift.difference, shift.error) == (pytest.approx(0.04), pytest.approx(0.01))
    assert shift.differences == {1: pytest.approx(0.03), 2: pytest.approx(0.05)}
    assert (shift.rate, shift.time, adam.cost) == (0.5, 2.0, 3.0)
    assert (adam.difference, adam.error) == (0.0, 0.0)


def test_table_marks_what_is_more_than_noise():
    table = render_table(summarize(ROWS)).splitlines()
    assert "**+4.00**" in table[3]
    assert table[4].split("|")[4].strip() == "+0.00"


def test_importance_is_of_the_setting_that_moves_the_accuracy():
    rows = [
        row(Point((("training.shift", shift), ("training.erase", erase))), seed, 0.9 + 0.03 * shift)
        for shift in (0, 1)
        for erase in (0, 4)
        for seed in range(3)
    ]
    shares = importance(rows)
    assert list(shares) == ["training.shift", "training.erase"]
    assert shares["training.shift"] > 0.95
    assert sum(shares.values()) == pytest.approx(1)


def test_importance_of_a_preset_alone_is_none():
    assert importance(ROWS[:2]) == {}


def test_csv_has_a_row_a_training_and_can_be_read_back(tmp_path):
    widths = row(Point((("training.network.widths", (16, 32)), ("training.optimizer", "adam"))), 1, 0.5)
    write_csv(tmp_path / "trainings.csv", [*ROWS, widths])
    with (tmp_path / "trainings.csv").open() as stream:
        found = list(csv.DictReader(stream))
    assert (found[2]["point"], found[2]["seed"], found[2]["val_accuracy"]) == ('{"training.shift": 1}', "1", "0.93")
    assert read_csv(tmp_path / "trainings.csv") == [*ROWS, widths]


def sweep_of(**differences: tuple[float, float, float]) -> list[Row]:
    """Returns the rows of a sweep over three seeds: the preset, and points by their changes, with what they gain."""
    points = {Point(): (0.0, 0.0, 0.0)}
    for text, gains in differences.items():
        names = [part.split("_") for part in text.split("__")]
        points[Point(tuple((f"training.{name}", int(value)) for name, value in names))] = gains
    return [
        row(point, seed, 0.9 + 0.001 * seed + gain, rate=200.0 if "epochs" in str(point) else 100.0)
        for point, gains in points.items()
        for seed, gain in enumerate(gains)
    ]


TOLD = sweep_of(
    shift_1=(0.010, 0.011, 0.012),
    erase_4=(-0.030, -0.031, -0.032),
    warmup_1=(0.001, -0.001, 0.0),
    epochs_2=(-0.005, -0.006, -0.007),
    shift_1__erase_4=(0.010, 0.011, 0.012),
    shift_1__epochs_2=(0.005, 0.005, 0.005),
)


@pytest.mark.parametrize(
    "told",
    [
        "**Better than the preset.** `shift=1`, +1.10 ± 0.06 points, 1.00 times the processor's time; "
        "`shift=1, erase=4`, ",
        "**Costs accuracy**, the most first. `erase`: 4 -3.10 ± 0.06 points; `epochs`: 2 -0.60 ± 0.06 points.",
        "**Makes no difference that shows.** `warmup` (1).",
        "**Changes the time.** `epochs=2` 0.50 times the processor's time (-0.60 ± 0.06 points).",
        "**Interacts.** `shift=1, erase=4` is 3.10 ± 0.06 points less bad than its parts add up to; "
        "nothing shows for `shift` and `epochs`.",
        "**What to change first:** for accuracy `shift=1`; for time `epochs=2`, ",
    ],
)
def test_words_say_what_the_figures_do(told):
    assert any(line.startswith(told) for line in words(TOLD)), words(TOLD)


def test_noise_is_called_nothing():
    noise = sweep_of(shift_1=(0.001, -0.001, 0.0005), erase_4=(-0.001, 0.001, 0.0005))
    assert words(noise)[0] == "**Better than the preset.** Nothing that was tried, by more than noise."
    assert words(noise)[2] == "**Makes no difference that shows.** `shift` (1), `erase` (4)."


def test_lucky_seeds_of_one_point_are_measured_by_those_of_all():
    # Its own three seeds happen to agree; those of the other point tell how far three seeds lie apart.
    rows = sweep_of(shift_1=(0.002, 0.002, 0.002), erase_4=(-0.01, 0.01, 0.0))
    assert words(rows)[0].startswith("**Better than the preset.** Nothing")


def test_page_says_what_was_run_and_shows_its_picture(tmp_path):
    write_page(tmp_path / "page.md", ROWS, preset="fast", command="python -m pipeline.sweep training.shift=1")
    text = (tmp_path / "page.md").read_text()
    assert "6 trainings around the preset `fast`, 6.0 hours, up to 2 to a point (seeds 1, 2)" in text
    assert "    python -m pipeline.sweep training.shift=1\n" in text
    assert "](page.png)" in text
    assert read_csv(tmp_path / "page.csv") == ROWS
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


def test_bad_input_is_one_line_and_status_2(capsys):
    assert main(["training.shift=-1"]) == 2
    assert capsys.readouterr().err == "sweep: training.shift: expected 0 or more, found -1.\n"


def test_measuring_side_by_side_is_refused(capsys):
    assert main(["training.shift=1", "--measure", "--side-by-side", "2"]) == 2
    assert "what runs beside it would be measured too" in capsys.readouterr().err


def test_table_has_what_was_measured():
    measured = [dataclasses.replace(line, input_share=0.015, peak_mib=1500.4, disk_mib=43.0) for line in ROWS]
    assert render_table(summarize(measured)).splitlines()[2].endswith("| x1.00 | x1.00 | 1.5 | 1,500 | 43.0 |")


def test_beginning_of_a_sweep_is_no_end_of_a_run(tmp_path):
    """Whatever it ends with: here the output root is busy."""
    root = OutputRoot(tmp_path / "output")
    RecordedRuns(root.path).add("20261122-020000-000", failed="Trainer")
    before = write_metrics(root, exit_status=1, now=1_795_894_488.0).read_bytes()
    settings = Settings.of(preset("smoke", on_end=f"touch '{tmp_path}/told'", output_root=root.path))
    with (root.path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BusyError):
            trainings.prepare(settings, tmp_path)
    assert root.metrics.read_bytes() == before
    assert not (tmp_path / "told").exists()


def test_sweep_of_data_in_spans_stands_on_the_window_of_an_earlier_run(monkeypatch, tmp_path):
    asked = []
    run = functools.wraps(lambda _, __, selection: asked.append(selection) or 3)(lambda *_: 0)
    monkeypatch.setattr(trainings, "run_pipeline", run)
    with pytest.raises(trainings.NoDataError):
        trainings.prepare(Settings.of(preset("smoke", data_dir=tmp_path / "{SPAN}", output_root=tmp_path)), tmp_path)
    assert list(map(str, asked)) == ["--from Spans --to Transform"]


@pytest.mark.parametrize(("name", "preset"), [("hyperparameters.md", "fast"), ("input-settings.md", "smoke")])
def test_page_of_the_documentation_is_that_of_its_trainings(tmp_path, name, preset):
    """What the forest says of importance is left out: its trees are not the same in each version of the library."""
    docs = ROOT / "docs" / name
    (command,) = [line.strip() for line in docs.read_text().splitlines() if line.startswith("    python -m")]
    write_page(tmp_path / docs.name, read_csv(docs.with_suffix(".csv")), preset=preset, command=command)
    page, remade = (
        path.read_text().partition("How much each setting explains")[0] for path in (docs, tmp_path / docs.name)
    )
    assert page == remade
