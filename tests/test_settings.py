"""Settings come from five layers, each checked where it stands; every value knows where it comes from."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.errors import InputError
from pipeline import presets
from pipeline.config import PipelineConfig, flatten
from pipeline.presets import PRESETS, WHERE_SLOW, preset
from pipeline.settings import Settings, as_toml, resolve


def settle(*assignments: str, preset=None, flags=None, file=None, **environ: str) -> Settings:
    return resolve(preset=preset, flags=flags or {}, assignments=list(assignments), file=file, environ=environ)


def refusal(*assignments: str, **sources) -> str:
    with pytest.raises(InputError) as caught:
        settle(*assignments, **sources)
    return str(caught.value)


@pytest.fixture(autouse=True)
def quick_machine(monkeypatch):
    monkeypatch.setattr(presets, "trains_slowly", lambda: False)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes experiment.toml into the current folder and returns its path as a user types it."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        Path("experiment.toml").write_text(text)
        return Path("experiment.toml")

    return write


def test_without_any_source_the_defaults_are_in_force():
    settings = settle()
    assert settings.config == preset("fast", output_root=Path("output").resolve())
    assert {name for name, origin in settings.origins.items() if origin != "default"} == PRESETS["fast"].keys()
    assert settings.given == {}


@pytest.mark.parametrize("named", [None, "fast"])
def test_slow_machine_s_values_are_told_as_such_and_go_behind_what_is_given(monkeypatch, named):
    monkeypatch.setattr(presets, "trains_slowly", lambda: True)
    settings = settle(preset=named)
    own = {name for name, origin in settings.origins.items() if origin == "preset fast, no bfloat16 here"}
    assert {name: flatten(settings.config)[name] for name in own} == WHERE_SLOW["fast"] != {}
    settings = settle("training.network.widths=8,8,8", preset=named)
    assert settings.config.training.network.widths == (8, 8, 8)
    assert settings.origins["training.network.widths"] == "--set training.network.widths=8,8,8"


def test_each_layer_goes_before_the_ones_below_it(write):
    file = write("[training]\nepochs = 30\nbatch_size = 30\npatience = 30\n")
    settings = settle(
        "training.epochs=40",
        preset="smoke",
        file=file,
        IMAGE_PIPELINE_TRAINING__EPOCHS="20",
        IMAGE_PIPELINE_TRAINING__BATCH_SIZE="20",
        IMAGE_PIPELINE_TRAINING__NETWORK__WIDTHS="2,2,2",
    )
    expected = {
        "training.epochs": (40, "--set training.epochs=40"),
        "training.batch_size": (30, "experiment.toml"),
        "training.patience": (30, "experiment.toml"),
        "training.network.widths": ((2, 2, 2), "IMAGE_PIPELINE_TRAINING__NETWORK__WIDTHS"),
        "split_limits": ((4000, 500, 1000), "preset smoke"),
        "preset": ("smoke", "--preset smoke"),
        "seed": (42, "default"),
    }
    leaves = flatten(settings.config)
    assert {name: (leaves[name], settings.origins[name]) for name in expected} == expected


def test_each_layer_may_name_the_preset_and_the_highest_one_counts(write):
    file = write('preset = "best"')
    assert settle(IMAGE_PIPELINE_PRESET="smoke").config.preset == "smoke"
    assert settle(file=file, IMAGE_PIPELINE_PRESET="smoke").config.training.epochs == 9
    assert settle("preset=smoke", file=file).config.training.epochs == 4
    assert settle(preset="smoke", file=file).origins["preset"] == "--preset smoke"


def test_last_assignment_of_a_name_counts():
    settings = settle("seed=1", "seed=2")
    assert (settings.config.seed, settings.origins["seed"]) == (2, "--set seed=2")


def test_flag_and_assignment_that_differ_are_refused_and_equal_ones_are_not():
    flags = {"seed": ("--seed 7", 7)}
    assert refusal("seed=8", flags=flags) == "--set seed=8: --seed 7 says otherwise. Give one of them."
    assert refusal("preset=best", preset="fast") == "--set preset=best: --preset fast says otherwise. Give one of them."
    assert settle("seed=7", flags=flags).origins["seed"] == "--seed 7"


def test_output_root_is_absolute_whatever_named_it(write):
    file = write('output_root = "elsewhere"')
    assert settle(file=file).config.output_root == Path.cwd() / "elsewhere"
    assert settle("output_root=here", file=file).config.output_root == Path.cwd() / "here"
    assert settle("output_root=/there").given == {"output_root": "/there"}


def test_output_root_that_leads_to_itself_is_refused_in_a_line(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    told = "expected a folder, found a link that leads to itself. Remove it, or name another."
    for path in (loop, loop / "output"):
        assert refusal(f"output_root={path}") == f"--set output_root={path}: {told}"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("training.epochs", "3", 3),
        ("training.learning_rate", "1", 1.0),
        ("training.learning_rate", "1e-2", 0.01),
        ("training.flip", "false", False),
        ("training.flip", "none", None),
        ("training.seed", "5", 5),
        ("training.seed", "none", None),
        ("training.seed", "null", None),
        ("training.seed", '"none"', None),
        ("training.network.widths", "[16, 32, 64]", (16, 32, 64)),
        ("training.network.widths", "16,32,64", (16, 32, 64)),
        ("training.network.pools", "true, false,true", (True, False, True)),
        ("split_sizes", "none,0.1,none", (None, 0.1, None)),
        ("split_sizes", "[null, 500, none]", (None, 500, None)),
        ("compression", "GZIP", "GZIP"),
        ("compression", '"GZIP"', "GZIP"),
        ("compression", "", ""),
        ("name", "2024-01-01", "2024-01-01"),
        ("name", "5", "5"),
        ("variant", "none", "none"),
        ("variant", "true", "true"),
        ("data_dir", "none", None),
        ("data_dir", "/data/a=b,c", Path("/data/a=b,c")),
        ("floors.accuracy", "0.92", 0.92),
        ("floors.accuracy@class=Bag", "0.8", 0.8),
        ("floors.accuracy@class=T-shirt/top", "1", 1.0),
    ],
)
def test_text_is_read_as_the_type_of_its_setting(name, text, value):
    found = flatten(settle(f"{name}={text}").config)[name]
    assert (found, type(found)) == (value, type(value))


def test_whole_split_sizes_stay_whole():
    assert [type(size) for size in settle("split_sizes=10,5,0.5").config.split_sizes] == [int, int, float]


def test_table_on_the_command_line_sets_what_it_holds():
    settings = settle("training={epochs = 3, network = {members = 2}}", 'floors={"accuracy@class=Bag" = 0.1}')
    assert (settings.config.training.epochs, settings.config.training.network.members) == (3, 2)
    assert settings.given == {"training.epochs": 3, "training.network.members": 2, "floors.accuracy@class=Bag": 0.1}


def test_floors_of_all_layers_are_merged(write):
    file = write('preset = "smoke"\n[floors]\n"accuracy@class=Bag" = 0.3\naccuracy = 0.1')
    assert settle("floors.loss=2", file=file, IMAGE_PIPELINE_FLOORS__ACCURACY="0.7").config.floors == {
        "accuracy": 0.1,
        "accuracy@class=Bag": 0.3,
        "loss": 2.0,
    }


# For each setting a text that it refuses, and what it says.
REFUSED = {
    "preset": ("warp", "expected smoke, fast, best, found 'warp'"),
    "name": ("a b", "expected letters, digits, _ and - only, found 'a b'"),
    "variant": ("a/b", "expected letters, digits, _ and - only, found 'a/b'"),
    "seed": ("many", "expected a whole number, found 'many'"),
    "data_dir": ("", "expected a path or none, found ''"),
    "output_root": ("", "expected a path, found ''"),
    "metadata_database": ("x.db", "expected mysql://USER@HOST[:PORT]/DATABASE, found 'x.db'"),
    "image_size": ("28", "expected a list of 2, each a whole number or none, found 28"),
    "image_channels": ("2", "expected none, 1 or 3, found 2"),
    "image_fit": ("squeeze", "expected pad or crop or stretch, found 'squeeze'"),
    "push": ("maybe", "expected true or false, found 'maybe'"),
    "broken_images": ("-1", "expected 0 or more, found -1"),
    "split_limits": ("none,0,none", "expected none, or whole numbers from 1, found (None, 0, None)"),
    "duplicate_tolerance": ("2", "expected a share from 0 to 1, found 2.0"),
    "split_sizes": ("none,x,none", "expected a list of 3, each a number or none, found ['none', 'x', 'none']"),
    "shards": ("4,1", "expected a list of 3, each a whole number or none, found [4, 1]"),
    "stratified": ("yes", "expected true or false, found 'yes'"),
    "image_encoding": ("bmp", "expected tensor or jpeg or png, found 'bmp'"),
    "compression": ("zip", "expected '' or GZIP, found 'zip'"),
    "gate.class_shift": ("-1", "expected a finite number from 0, found -1.0"),
    "gate.pixel_shift": ("inf", "expected a finite number from 0, found inf"),
    "gate.size_ratio": ("0.5", "expected a finite number from 1, found 0.5"),
    "gate.agreement_drop": ("-0.1", "expected a finite number from 0, found -0.1"),
    "span": ("7", "expected data in spans (--data-dir with {SPAN} or a date in it), found '7'"),
    "window": ("0", "expected none, or 1 or more spans, found 0"),
    "admit": ("a,b", "expected data in spans (--data-dir with {SPAN} or a date in it), found ('a', 'b')"),
    "training.warm_start": ("1", "expected true or false, found 1"),
    "training.warm_epochs": ("0", "expected 1 or more, found 0"),
    "training.warm_rate": ("0", "expected above 0 and at most 1, found 0.0"),
    "gate_severity": ("info", "expected warning or error, found 'info'"),
    "accuracy_tolerance": ("2", "expected none, or 0 to 1, found 2.0"),
    "replace_other_classes": ("1", "expected true or false, found 1"),
    "kept_versions": ("0", "expected 1 or more, found 0"),
    "kept_runs": ("0", "expected none, or 1 or more, found 0"),
    "training.network.kind": ("", "expected the name of a network, found ''"),
    "training.network.stem_size": ("0", "expected 1 or more, found 0"),
    "training.network.widths": ("16,32", "expected one entry a stage, like blocks (3) and pools (3), found 2 entries"),
    "training.network.blocks": ("1", "expected one entry a stage, like widths (3) and pools (3), found 1 entries"),
    "training.network.pools": ("1,0,1", "expected a list, each true or false, found [1, 0, 1]"),
    "training.network.members": ("0", "expected 1 or more, found 0"),
    "training.input.cached": ("1", "expected true or false, found 1"),
    "training.input.shuffle": ("no", "expected true or false, found 'no'"),
    "training.input.buffer": ("0", "expected 1 or more, found 0"),
    "training.input.parallel": ("1.5", "expected a whole number, found 1.5"),
    "training.input.prefetch": ("0", "expected 1 or more, found 0"),
    "training.seed": ("-1", "expected none or 0 to 2147483647, found -1"),
    "training.epochs": ("3.7", "expected a whole number, found 3.7"),
    "training.min_epoch_steps": ("0", "expected 1 or more, found 0"),
    "training.batch_size": ("0", "expected 1 or more, found 0"),
    "training.class_weights": ("equal", "expected none or balanced, found 'equal'"),
    "training.network.mirrored_view": ("1", "expected true or false, found 1"),
    "training.network.norm": ("1", "expected true or false, found 1"),
    "training.network.dropout": ("1", "expected 0 or more and below 1, found 1.0"),
    "training.optimizer": ("lion", "expected muon or adam or sgd, found 'lion'"),
    "training.learning_rate": ("yes", "expected a number or none, found 'yes'"),
    "training.prune": ("1", "expected 0 to 0.9, found 1.0"),
    "training.warmup": ("1", "expected 0 or more and below 1, found 1.0"),
    "training.label_smoothing": ("true", "expected a number, found True"),
    "training.flip": ("0", "expected true or false or none, found 0"),
    "training.shift": ("-1", "expected 0 or more, found -1"),
    "training.erase": ("2.0", "expected a whole number, found 2.0"),
    "training.augmentations": ("[1]", "expected a list, each text, found [1]"),
    "training.erase_share": ("1.5", "expected 0 to 1, found 1.5"),
    "training.patience": ('"3"', "expected a whole number or none, found '3'"),
    "training.precision": ("float16", "expected auto or float32 or bfloat16, found 'float16'"),
    "tune.enabled": ("maybe", "expected true or false, found 'maybe'"),
    "tune.trials": ("0", "expected 1 or more, found 0"),
    "tune.minutes": ("0", "expected none, or a finite number above 0, found 0.0"),
    "tune.algorithm": ("grid", "expected bayesian or random, found 'grid'"),
    "tune.side_by_side": ("0", "expected 1 or more, found 0"),
    "tune.fixed": ("speed", "expected names of settings below training., found speed"),
    "memory_mib": ("255", "expected none, or a finite number from 256, found 255.0"),
    "on_end": ("", "expected none, or a command, found none between the quotes"),
    "on_end_seconds": ("0", "expected a finite number above 0, found 0.0"),
    "beam_runner": ("spark", "expected direct or flink or portable, found 'spark'"),
    "beam_args": ("parallelism=4", "expected options such as --parallelism=4, found 'parallelism=4'"),
    "beam_seconds": ("0", "expected a finite number above 0, found 0.0"),
    "kubeflow.image": ("a b", "expected the name of an image, without spaces, found 'a b'"),
    "kubeflow.root": ("out", "expected an address such as gs://bucket/pipeline, or a path from /, found 'out'"),
    "kubeflow.mount": ("/gcs", "expected START=FOLDER, such as gs://=/gcs/, found '/gcs'"),
    "kubeflow.data": ("data", "expected a path from /, found 'data'"),
    "kubeflow.shared": ("", "expected a path from /, found ''"),
    "enable_cache": ("none", "expected true or false, found 'none'"),
}


def test_there_is_a_refused_value_for_every_setting():
    assert set(REFUSED) == set(flatten(PipelineConfig()))


@pytest.mark.parametrize("name", REFUSED)
def test_every_setting_refuses_a_bad_value_in_one_line_that_begins_with_its_source(name, write):
    text, message = REFUSED[name]
    assert refusal(f"{name}={text}") == f"--set {name}={text}: {message}."
    variable = "IMAGE_PIPELINE_" + name.upper().replace(".", "__")
    assert refusal(**{variable: text}) == f"{variable}: {message}."


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("training.epochs = 0", "experiment.toml: training.epochs: expected 1 or more, found 0."),
        ("training.epochs = 3.0", "experiment.toml: training.epochs: expected a whole number, found 3.0."),
        ("training.epochs = '3'", "experiment.toml: training.epochs: expected a whole number, found '3'."),
        ("training = 3", "experiment.toml: training: expected a table, found 3."),
        ("floors = 0.9", "experiment.toml: floors: expected a table, found 0.9."),
        ("[seed]\nsplits = 3", "experiment.toml: seed: expected a whole number, found a table."),
        ("[floors.accuracy]\nBag = 3", "experiment.toml: floors.accuracy: expected a number, found a table."),
        (
            "shards = [4, 'x', 2]",
            "experiment.toml: shards: expected a list of 3, each a whole number or none, found [4, 'x', 2].",
        ),
        ("preset = 'warp'", "experiment.toml: preset: expected smoke, fast, best, found 'warp'."),
        (
            "[training]\nflap = 3",
            "experiment.toml: training.flap: no such setting; the nearest is training.flip. --show-config lists all.",
        ),
        ("seed = 3\nname =\n", "--config experiment.toml: expected TOML, found: Invalid value (at line 2, column 7)."),
    ],
)
def test_file_is_refused_in_one_line_with_the_place(write, toml, message):
    assert refusal(file=write(toml)) == message


def test_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path):
    absent = tmp_path / "absent.toml"
    assert refusal(file=absent) == f"--config {absent}: cannot be read (No such file or directory)."
    assert refusal(file=tmp_path) == f"--config {tmp_path}: cannot be read (Is a directory)."
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfea")
    assert refusal(file=binary) == (
        f"--config {binary}: expected text, found truncated data at byte 2. Save it as UTF-8."
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_file_of_settings_is_read_whatever_wrote_it(tmp_path, encoding):
    """Windows line ends, a mark at the beginning, UTF-16."""
    file = tmp_path / "experiment.toml"
    file.write_bytes('data_dir = "möbel"\r\nseed = 3\r\n'.encode(encoding))
    config = resolve(preset=None, flags={}, assignments=[], file=file, environ={}).config
    assert (config.data_dir.name, config.seed) == ("möbel", 3)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.epochs=three", "expected a whole number, found 'three'."),
        ("training.epoch=3", "no such setting; the nearest is training.epochs. --show-config lists all."),
        ("epochs=3", "no such setting; the nearest is training.epochs. --show-config lists all."),
        ("seed.=3", "no such setting; the nearest is seed. --show-config lists all."),
        ("training={epoch = 3}", "no such setting; the nearest is training.epochs. --show-config lists all."),
        ("seed", "expected NAME=VALUE, found no '='."),
        ("training=3", "expected a table, found 3."),
        ('data_dir=""', "expected a path or none, found ''."),
        ("seed={a = 1}", "expected a whole number, found a table."),
        ("seed=3\npreset = 4", r"expected a whole number, found '3\npreset = 4'."),
        ("floors.=3", "expected the name of a metric after the dot, found none."),
        ("floors.accuracy@class=Bag=high", "expected a number, found 'high'."),
        ("floors.accuracy@class=Bag", "expected a number, found 'Bag'."),
    ],
)
def test_assignment_is_refused_with_the_way_out(assignment, message):
    assert refusal(assignment) == f"--set {assignment}: {message}"


def test_environment_variable_may_have_any_case_and_others_are_left_alone():
    settings = settle(image_pipeline_Training__Epochs="3", PIPELINE_SEED="x", IMAGE_PIPELINES="x", SEED="x")
    assert settings.given == {"training.epochs": 3}
    assert settings.origins["training.epochs"] == "image_pipeline_Training__Epochs"


def test_unknown_environment_variable_is_refused_with_the_nearest_setting():
    assert refusal(IMAGE_PIPELINE_TRAINING__EPOCH="3") == (
        "IMAGE_PIPELINE_TRAINING__EPOCH: no such setting; the nearest is training.epochs. --show-config lists all."
    )


def test_given_is_what_a_person_asked_for_as_plain_values(write):
    settings = settle(
        "training.network.widths=1,2,3",
        flags={"data_dir": ("--data-dir /data", Path("/data"))},
        file=write("seed = 3"),
        IMAGE_PIPELINE_KEPT_VERSIONS="2",
    )
    expected = {"training.network.widths": [1, 2, 3], "data_dir": "/data", "seed": 3, "kept_versions": 2}
    assert settings.given == expected
    assert json.loads(json.dumps(settings.given)) == expected


def test_named_preset_asks_for_each_value_in_which_presets_differ():
    given = settle(preset="fast").given
    assert set(given) == {"preset"}.union(*PRESETS.values(), *WHERE_SLOW.values())
    assert (given["training.epochs"], given["split_limits"], given["variant"]) == (7, [None] * 3, "")
    assert settle("training.epochs=1", preset="smoke").given["training.epochs"] == 1


def test_other_optimizer_has_a_rate_of_its_own_and_not_that_of_a_preset_or_an_earlier_run():
    best = settle("training.optimizer=adam", preset="best")
    assert (best.config.training.learning_rate, best.config.training.peak_rate) == (None, 0.002)
    assert best.origins["training.learning_rate"] == "--set training.optimizer=adam"
    # What a person gave stands, and so does the preset's for its own optimizer.
    assert (
        settle("training.optimizer=adam", "training.learning_rate=0.01", preset="best").config.training.peak_rate
        == 0.01
    )
    own = settle(preset="best").config.training.learning_rate
    assert settle("training.optimizer=muon", preset="best").config.training.learning_rate == own is not None
    earlier = settle(preset="best").as_dict()
    assert settle("training.optimizer=sgd").on_top_of(earlier, "1").config.training.peak_rate == 0.05
    assert settle("training.epochs=1").on_top_of(earlier, "1").config.training.learning_rate == own
    adams = settle("training.optimizer=adam", preset="fast").as_dict()
    assert settle(preset="best").on_top_of(adams, "1").config.training.peak_rate == 0.002


def test_settings_from_code_are_given_where_they_differ_from_the_defaults():
    settings = Settings.of(PipelineConfig(seed=7, floors={"accuracy@class": 0.1}, kept_versions=5))
    assert settings.given == {"seed": 7, "floors.accuracy@class": 0.1}
    assert {name for name, origin in settings.origins.items() if origin == "code"} == set(settings.given)
    assert set(settings.origins) == set(flatten(settings.config))


@pytest.fixture
def earlier() -> dict:
    """What was recorded of a smoke run with seed 9, whose folders were others."""
    elsewhere = ("data_dir=/old", "output_root=/old/output", "memory_mib=512", "enable_cache=false", "on_end=old")
    settings = settle("seed=9", *elsewhere, preset="smoke")
    return json.loads(json.dumps(settings.as_dict()))


def test_settings_on_top_of_a_run_are_the_runs_but_for_what_is_given(earlier):
    settings = settle("training.epochs=2", "output_root=/new", "data_dir=/data").on_top_of(earlier, "20260101-1")
    config = settings.config
    assert (config.preset, config.seed, config.training.network.widths) == ("smoke", 9, (16, 32, 64))
    assert (config.training.epochs, config.split_limits) == (2, (4000, 500, 1000))
    assert (config.output_root, config.data_dir, config.enable_cache) == (Path("/new"), Path("/data"), True)
    assert (config.memory_mib, config.on_end) == (None, None)
    assert settings.origins["seed"] == "run 20260101-1"
    assert settings.origins["training.epochs"] == "--set training.epochs=2"
    assert settings.origins["enable_cache"] == "default"
    assert set(settings.origins) == set(flatten(config))
    assert settings.given == {"training.epochs": 2, "output_root": "/new", "data_dir": "/data"}


def test_nothing_given_on_top_of_a_run_is_that_run(earlier):
    elsewhere = ("data_dir=/old", "output_root=/old/output", "memory_mib=512", "enable_cache=false", "on_end=old")
    assert settle(*elsewhere).on_top_of(earlier, "1").as_dict() == earlier


def test_named_preset_on_top_of_a_run_with_another_one_is_that_preset(earlier):
    config = settle(preset="fast").on_top_of(earlier, "1").config
    assert config == preset("fast", seed=9, output_root=config.output_root)


def test_floors_of_a_run_stand_for_all_of_them(earlier):
    earlier["floors"] = {"accuracy@class=Bag": 0.2}
    assert settle("floors.accuracy=0.1").on_top_of(earlier, "1").config.floors == {
        "accuracy@class=Bag": 0.2,
        "accuracy": 0.1,
    }


def test_settings_that_an_older_version_knew_or_lacked_do_no_harm(earlier):
    earlier["accuracy_floor"] = 0.1
    earlier["training"]["network"]["trunks"] = 3
    del earlier["training"]["seed"], earlier["training"]["prune"], earlier["floors"]
    settings = settle().on_top_of(earlier, "1")
    assert settings.origins["training.seed"] == settings.origins["training.prune"] == "default"
    assert settings.config.training.prune == 0
    assert settle("training.prune=0.3").on_top_of(earlier, "1").config.training.prune == 0.3
    assert settings.config.floors == PipelineConfig().floors
    assert settings.config.seed == 9


def test_run_with_a_value_that_is_refused_today_is_told_by_its_id(earlier):
    earlier["training"]["epochs"] = 0
    with pytest.raises(InputError, match=r"^run 1: training\.epochs: expected 1 or more, found 0\.$"):
        settle().on_top_of(earlier, "1")
    earlier["training"]["epochs"] = "three"
    with pytest.raises(InputError, match=r"^run 1: training\.epochs: expected a whole number, found 'three'\.$"):
        settle().on_top_of(earlier, "1")


def test_one_given_value_can_be_tried_by_itself(earlier):
    settings = settle("training.epochs=2", "seed=1").with_only("seed")
    assert settings.given == {"seed": 1}
    assert settings.on_top_of(earlier, "1").config.seed == 1
    assert settings.on_top_of(earlier, "1").config.training.epochs == 4


def test_shown_settings_name_every_leaf_with_value_and_origin():
    settings = settle("training.network.widths=16,32,64", preset="smoke")
    header, *rows = settings.render().splitlines()
    assert header.split() == ["name", "value", "from"]
    assert [row.split()[0] for row in rows] == list(flatten(settings.config))
    column = header.index("value")
    assert all(row[column - 2 : column] == "  " and row[column] != " " for row in rows)
    cells = [re.split("  +", row) for row in rows]
    assert ["training.network.widths", "[16, 32, 64]", "--set training.network.widths=16,32,64"] in cells
    assert ["split_limits", "[4000, 500, 1000]", "preset smoke"] in cells
    assert ["training.seed", '"none"', "default"] in cells


@pytest.mark.parametrize("name", PRESETS)
def test_shown_values_can_be_set_again_on_the_command_line_and_in_a_file(name, write):
    config = settle("floors.accuracy@class=Bag=0.25", "data_dir=/a b", preset=name).config
    shown = {leaf: as_toml(value) for leaf, value in flatten(config).items()}
    assert settle(*(f"{leaf}={text}" for leaf, text in shown.items())).config == config
    in_file = "\n".join(f"{json.dumps(leaf)} = {text}" for leaf, text in shown.items())
    assert settle(file=write(in_file)).config == config


@given(
    st.fixed_dictionaries(
        {
            "seed": st.integers(0, 2**31 - 1),
            "variant": st.from_regex("[A-Za-z0-9_-]*", fullmatch=True),
            "data_dir": st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(Path),
            "stratified": st.booleans(),
            "split_sizes": st.tuples(st.none() | st.integers(1), st.integers(1), st.floats(0, 1, exclude_min=True)),
            "floors.accuracy": st.floats(allow_nan=False, allow_infinity=False),
            "training.network.widths": st.tuples(*[st.integers(1)] * 3),
            "training.network.pools": st.tuples(*[st.booleans()] * 3),
            "training.seed": st.none() | st.integers(0, 2**31 - 1),
            "training.learning_rate": st.floats(0, exclude_min=True, allow_infinity=False),
        }
    ).filter(lambda values: str(values["data_dir"]) not in ("none", "null"))
)
def test_any_value_survives_being_shown_and_set(values):
    leaves = flatten(settle(*(f"{name}={as_toml(value)}" for name, value in values.items())).config)
    assert {name: leaves[name] for name in values} == values
