"""The settings that are in force, and where each value comes from.

From the highest precedence to the lowest: the command line (`--set NAME=VALUE` and the flags of single settings), the
TOML file of `--config`, environment variables (IMAGE_PIPELINE_TRAINING__EPOCHS for training.epochs), the preset, the
defaults. A value is text in TOML's syntax or, where that fits nothing, plain text; lists need no brackets, and `none`
or `null` stands for no value, in quotes within TOML.

Synopsis:

    settings = resolve(preset="smoke", flags={}, assignments=["training.epochs=3"], file=None, environ=os.environ)
    settings.config.training.epochs           # 3
    settings.origins["training.epochs"]       # "--set training.epochs=3"
    settings.given                            # what a person asked for: {"preset": "smoke", "training.epochs": 3, ...}
"""

import dataclasses
import errno
import json
import os
import tomllib
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from components.errors import InputError
from components.text import read_text
from pipeline.config import PipelineConfig, build, declared_type, flatten, nearest
from pipeline.metadata.shared import without_password
from pipeline.presets import PRESETS, WHERE_SLOW, changes

ENVIRONMENT_PREFIX = "IMAGE_PIPELINE_"
# Where and how to run, not what: never taken over from an earlier run.
OF_THIS_RUN = (
    *("output_root", "metadata_database", "data_dir", "memory_mib", "on_end", "on_end_seconds", "enable_cache"),
    *("beam_runner", "beam_args", "beam_seconds", "kubeflow"),
)
# The second is tuned for the first.
_OPTIMIZER, _RATE = "training.optimizer", "training.learning_rate"
_KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    type(None): "none",
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """A configuration and its history.

    Attributes:
      config: the values in force.
      origins: where each value comes from, by dotted name: "default", "preset smoke", the environment variable, the
        TOML file, the flag as typed, "run ID" or "code".
      given: plain values that a person asked for, by dotted name. A preset that was named asks for its value of each
        setting in which presets differ, so that "fast" on top of a smoke run is not smoke.
    """

    config: PipelineConfig
    origins: dict[str, str]
    given: dict[str, object]

    @classmethod
    def of(cls, config: PipelineConfig) -> "Settings":
        """Returns the settings of a caller in Python: whatever differs from the defaults counts as given."""
        default, leaves = flatten(PipelineConfig()), flatten(config)
        given = {name: _plain(value) for name, value in leaves.items() if (name, value) not in default.items()}
        return cls(config, {name: "code" if name in given else "default" for name in leaves}, given)

    def on_top_of(self, values: dict, run_id: str) -> "Settings":
        """Returns what was given here on top of the settings of an earlier run; the rest keeps the run's values.

        What says where and how to run (`output_root`, `memory_mib`, ...) stays as it is here.

        Args:
          values: `as_dict()` of that run; names that are unknown by now are ignored.
          run_id: its id.

        Raises:
          InputError: a value of that run is not allowed any more.
        """
        origin = f"run {run_id}"
        own = {name: (value, self.origins[name]) for name, value in flatten(self.config).items()}
        # The run's floors stand for all of them: a default one that it did not have is none of its.
        kept = {name: leaf for name, leaf in own.items() if not (name.startswith("floors.") and "floors" in values)}
        earlier = {
            name: (_typed(name, kind, [value], f"{origin}: {name}"), origin)
            for key, inside in values.items()
            for name, kind, value in _leaves(key, inside)
            if kind is not None and key not in OF_THIS_RUN
        }
        # What it did not know yet it did without, whatever presets make of it today.
        default = flatten(PipelineConfig())
        kept |= {name: (default[name], "default") for name, (_, by) in own.items() if by.startswith("preset ")}
        before = {**kept, **earlier}
        layers = _with_own_rate(before, {**before, **{name: own[name] for name in self.given}}, self.given)
        if layers[_OPTIMIZER][0] != own[_OPTIMIZER][0] and layers[_RATE][1].startswith("preset "):
            # A preset that is named here is tuned for its own optimizer, and the run has another.
            layers[_RATE] = (None, layers[_OPTIMIZER][1])
        by_hand = {name for name in self.given if not self.origins[name].startswith(("preset ", "default"))}
        if (more := _trained_by(by_hand)) and "tune.fixed" not in self.given:
            layers["tune.fixed"] = (tuple(sorted({*layers["tune.fixed"][0], *more})), "what is given")
        return _settle(layers, self.given)

    def with_only(self, name: str) -> "Settings":
        """Returns the same with `name` as the only given value: for `on_top_of`, to try each by itself."""
        return dataclasses.replace(self, given={name: self.given[name]})

    def refusal(self, error: Exception) -> InputError:
        """Returns an error about a value, told as `NAME: why`, with where that comes from in the place of its name."""
        return _with_source(InputError(str(error)), self.origins)

    def as_dict(self) -> dict:
        """Returns the configuration as nested values for JSON."""
        return _plain(dataclasses.asdict(self.config))

    def render(self) -> str:
        """Returns a table of each setting, its value in TOML's syntax (as `--set` reads it) and its origin."""
        leaves = flatten(self.config)
        rows = [("name", "value", "from")]
        rows += [(name, as_toml(value), self.origins[name]) for name, value in leaves.items()]
        wide, wider = (max(len(row[column]) for row in rows) for column in (0, 1))
        return "\n".join(f"{name:<{wide}}  {value:<{wider}}  {origin}" for name, value, origin in rows)


def resolve(
    *,
    preset: str | None,
    flags: dict[str, tuple[str, object]],
    assignments: list[str],
    file: Path | None,
    environ: Mapping[str, str],
) -> Settings:
    """Layers all sources of settings.

    Args:
      preset: the value of `--preset`, if it was given.
      flags: dotted name to the flag as it was typed and its value, for each flag that was given.
      assignments: the NAME=VALUE of each `--set`; the last one of a name counts.
      file: the TOML file of `--config`.
      environ: environment variables.

    Raises:
      InputError: one line that begins with the source of what is wrong.
    """
    if preset is not None:
        flags = {"preset": (f"--preset {preset}", preset), **flags}
    given = {
        **_read_environment(environ),
        **(_read_file(file) if file else {}),
        **_read_command_line(assignments, flags),
    }
    chosen, chosen_by = given.get("preset", (PipelineConfig.preset, "default"))
    if chosen not in PRESETS:
        raise InputError(f"{_where('preset', chosen_by)}: expected {', '.join(PRESETS)}, found {chosen!r}.")
    layers = {name: (value, "default") for name, value in flatten(PipelineConfig()).items()}
    layers |= changes(chosen)
    layers = _with_own_rate(layers, {**layers, **given}, given)
    # What a run records about itself must not depend on the folder that it was started in.
    layers["output_root"] = (_whole_path(*layers["output_root"]), layers["output_root"][1])
    if (by_hand := _trained_by(given)) and "tune.fixed" not in given:
        layers["tune.fixed"] = (by_hand, "what is given")
    presets = (*PRESETS.values(), *WHERE_SLOW.values())
    asked = {name for values in presets for name in values} if "preset" in given else set()
    return _settle(layers, asked.union(given))


def _whole_path(path: Path, origin: str) -> Path:
    whole = Path(os.path.realpath(path))
    try:
        whole.stat()
    except OSError as error:
        # What is missing is made, and what may not be read is told by whoever writes there.
        if error.errno == errno.ELOOP:
            told = f"{_where('output_root', origin)}: expected a folder, found a link that leads to itself"
            raise InputError(f"{told}. Remove it, or name another.") from None
    return whole


def read_assignment(assignment: str, origin: str) -> dict[str, object]:
    """Returns the values of NAME=VALUE by their dotted names, of the declared types.

    Raises:
      InputError: one line that begins with `origin`.
    """
    # A slicing's value may hold a "=" itself: --set floors.accuracy@class=Bag=0.8
    split = assignment.rpartition if assignment.startswith("floors.") else assignment.partition
    name, equals, text = split("=")
    if not equals:
        raise InputError(f"{origin}: expected NAME=VALUE, found no '='.")
    return {key: value for key, (value, _) in _read(name, _parse(text), origin, text).items()}


def as_toml(value: object) -> str:
    """Returns a value in TOML's syntax; TOML has no word for None."""
    if value is None:
        return '"none"'
    if isinstance(value, tuple):
        return f"[{', '.join(map(as_toml, value))}]"
    # JSON's spelling is TOML's, but for DEL.
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")


def _trained_by(names: Iterable[str]) -> tuple[str, ...]:
    """Returns which of some settings are the training's, by their names below it."""
    return tuple(sorted(name.removeprefix("training.") for name in names if name.startswith("training.")))


def _with_own_rate(
    before: Mapping[str, tuple[object, str]], layers: Mapping[str, tuple[object, str]], given: Collection[str]
) -> dict[str, tuple[object, str]]:
    """Returns layers in which another optimizer than before has a learning rate of its own, unless one was given."""
    optimizer, origin = layers[_OPTIMIZER]
    kept = optimizer == before[_OPTIMIZER][0] or _RATE in given or layers[_RATE][0] is None
    return {**layers} if kept else {**layers, _RATE: (None, origin)}


def _settle(layers: dict[str, tuple[object, str]], asked: Iterable[str]) -> Settings:
    """Builds the configuration of values with origins; what it refuses is told with where the value comes from."""
    leaves = {name: value for name, (value, _) in layers.items()}
    origins = {name: origin for name, (_, origin) in layers.items()}
    try:
        config = build(leaves)
    except InputError as error:
        raise _with_source(error, origins) from None
    return Settings(config, origins, {name: _plain(leaves[name]) for name in leaves if name in asked})


def _with_source(error: InputError, origins: Mapping[str, str]) -> InputError:
    """Returns what is refused, `NAME: why`, with where the value comes from in the place of the name."""
    refused = next((name for name in origins if str(error).startswith(f"{name}: ")), None)
    return InputError(f"{_where(refused, origins[refused])}{str(error).removeprefix(refused)}") if refused else error


def _read_command_line(assignments: list[str], flags: dict[str, tuple[str, object]]) -> dict[str, tuple[object, str]]:
    found = {}
    for assignment in assignments:
        origin = f"--set {assignment}"
        found |= {name: (value, origin) for name, value in read_assignment(assignment, origin).items()}
    for name, (typed, value) in flags.items():
        if name in found and found[name][0] != value:
            raise InputError(f"{found[name][1]}: {typed} says otherwise. Give one of them.")
        found[name] = (value, typed)
    return found


def _read_environment(environ: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    found = {}
    for variable, text in environ.items():
        if variable.upper().startswith(ENVIRONMENT_PREFIX):
            name = variable[len(ENVIRONMENT_PREFIX) :].lower().replace("__", ".")
            found |= _read(name, _parse(text), variable, text)
    return found


def _read_file(file: Path) -> dict[str, tuple[object, str]]:
    try:
        table = tomllib.loads(read_text(file)[0])
    except InputError as error:
        raise InputError(f"--config {error}") from None
    except ValueError as error:
        raise InputError(f"--config {file}: expected TOML, found: {error}.") from None
    found = {}
    for name, value in table.items():
        found |= _read(name, value, str(file))
    return found


def _read(key: str, value: object, origin: str, text: str | None = None) -> dict[str, tuple[object, str]]:
    """Returns the values below `key`, each with its origin; `text` is how a single one was typed, such as name=5."""
    found = {}
    for name, kind, leaf in _leaves(key, value):
        readings = [leaf] if text is None or name != key or isinstance(leaf, str) else [leaf, text]
        if text is not None and ... in typing.get_args(kind) and not isinstance(leaf, list):
            readings.append([leaf] if text else [])  # a list of one, or of none, without brackets
        if text and text[0] not in "[{" and ... in typing.get_args(kind) and not isinstance(leaf, bool):
            readings.append([part.strip() for part in text.split(",")])  # of texts that look like numbers
        found[name] = (_typed(name, kind, readings, _where(name, origin)), origin)
    return found


def _parse(text: str) -> object:
    """Reads TOML, or a list without brackets, or takes the text as it is."""
    try:
        (value,) = tomllib.loads(f"value = {text}").values()
        return value
    except ValueError:
        parts = text.removeprefix("[").removesuffix("]").split(",")
        return [_parse(part.strip()) for part in parts] if len(parts) > 1 else text


def _leaves(name: str, value: object) -> Iterator[tuple[str, object, object]]:
    """Yields the dotted name, the declared type (None: no such setting) and the value of each leaf of a table."""
    kind = declared_type(name)
    if isinstance(value, dict) and (dataclasses.is_dataclass(kind) or typing.get_origin(kind) is dict):
        for key, inside in value.items():
            yield from _leaves(f"{name}.{key}", inside)
    else:
        yield name, kind, value


def _typed(name: str, kind: object, readings: list, where: str) -> object:
    """Returns the first of `readings` that is of the declared type; 3 is a float too, "3" or 3.0 is no int."""
    if kind is None:
        raise InputError(f"{where}: no such setting; the nearest is {nearest(name)}. --show-config lists all.")
    for reading in [_with_none(readings[0]), *readings]:
        if reading == "" and Path in (kind, *typing.get_args(kind)):
            continue  # pathlib would take it for the current folder
        try:
            # As JSON, for there a list is a tuple and text a path even where pydantic is strict.
            return TypeAdapter(kind).validate_json(json.dumps(reading, default=str), strict=True)
        except ValidationError:
            continue
    found = "a table" if isinstance(readings[0], dict) else repr(readings[0])
    raise InputError(f"{where}: expected {_describe(kind)}, found {found}.")


def _with_none(value: object) -> object:
    if isinstance(value, list):
        return [_with_none(item) for item in value]
    return None if value in ("none", "null") else value


def _describe(kind: object) -> str:
    parts = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        count = "" if ... in parts else f" of {len(parts)}"
        return f"a list{count}, each {_describe(parts[0])}"
    if isinstance(kind, types.UnionType):
        return " or ".join(_describe(part) for part in parts if not (part is int and float in parts))
    return _KINDS.get(kind, "a table")


def _where(name: str, origin: str) -> str:
    if name == "metadata_database":
        # A password in it is refused, and must not be told for that.
        origin = without_password(origin)
    if origin.startswith("--") or origin.upper().startswith(ENVIRONMENT_PREFIX):
        return origin  # which names the setting itself
    return name if origin == "default" else f"{origin}: {name}"


def _plain(value: object) -> typing.Any:
    return json.loads(json.dumps(value, default=str))
