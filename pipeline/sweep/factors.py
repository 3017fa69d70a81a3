"""The points of a sweep: what is changed of a preset, one setting at a time and in pairs.

Synopsis:

    fast = preset("fast")
    factors = [read_factor("training.shift=0,1,2", fast), read_factor("training.optimizer=adam", fast)]
    [str(point) for point in plan(fast, factors)]      # ["as it is", "shift=1", "shift=2", 'optimizer="adam"']
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from components.errors import InputError
from models.config import TrainingConfig
from pipeline.config import PipelineConfig, build, flatten
from pipeline.presets import changes
from pipeline.settings import as_toml, read_assignment

SWEPT = "training."
# Of the data and of where they lie, whose effect on the input pipeline can be measured.
OF_THE_DATA = ("image_encoding", "compression", "shards", "memory_mib")
_OPTIMIZER, _RATE = f"{SWEPT}optimizer", f"{SWEPT}learning_rate"
_OF_A_WARM_START = tuple(f"{SWEPT}{name}" for name in ("warm_start", "warm_epochs", "warm_rate"))


@dataclasses.dataclass(frozen=True)
class Factor:
    """A setting and the values that it takes, the preset's own first."""

    name: str
    values: tuple[object, ...]


@dataclasses.dataclass(frozen=True)
class Point:
    """A configuration: what it changes of the preset, as pairs of a name and a value; none is the preset itself."""

    changes: tuple[tuple[str, object], ...] = ()

    def config(self, base: PipelineConfig) -> PipelineConfig:
        """Returns the configuration of the point."""
        changed = dict(self.changes)
        of_the_preset = changes(base.preset).get(_RATE, (None, ""))[0]
        if _OPTIMIZER in changed and base.training.learning_rate == of_the_preset:
            # What was tuned for another optimizer is none of this one's.
            changed.setdefault(_RATE, None)
        return build({**flatten(base), **changed})

    @property
    def of_the_data(self) -> tuple[tuple[str, object], ...]:
        """What it changes of the data."""
        return tuple((name, value) for name, value in self.changes if name in OF_THE_DATA)

    def __str__(self) -> str:
        return ", ".join(f"{name.removeprefix(SWEPT)}={as_toml(value)}" for name, value in self.changes) or "as it is"


def read_factor(text: str, base: PipelineConfig) -> Factor:
    """Reads FIELD=V1,V2,...; a list of a field that holds one is in brackets.

    Raises:
      InputError: there is no such setting that can be swept, or a value is none of its.
    """
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise InputError(f"{text}: expected FIELD=V1,V2,..., found no values.")
    if not name.startswith(SWEPT) and name not in OF_THE_DATA:
        raise InputError(f"{text}: expected a setting below {SWEPT} or {', '.join(OF_THE_DATA)}, found {name}.")
    found = [read_assignment(f"{name}={value}", f"{name}={value}")[name] for value in _split(values)]
    if name == f"{SWEPT}seed":
        raise InputError(f"{text}: expected a setting that is no seed. --seeds N tries each point with N of them.")
    if name in _OF_A_WARM_START:
        raise InputError(
            f"{text}: expected a setting of a training that begins anew, as each of a sweep does, found one of a warm "
            "start. Leave it out."
        )
    own = flatten(base)[name]
    return Factor(name, tuple(dict.fromkeys([own, *found])))


def read_point(text: str, base: PipelineConfig) -> Point:
    """Reads FIELD=V FIELD=V ..., a configuration of its own.

    Raises:
      InputError: as in `read_factor`.
    """
    factors = [read_factor(part, base) for part in text.split()]
    if several := [factor.name for factor in factors if len(set(factor.values[1:])) > 1]:
        raise InputError(f"--point {text}: expected one value of each setting, found several of {several[0]}.")
    return Point(tuple((factor.name, factor.values[-1]) for factor in factors))


def plan(
    base: PipelineConfig,
    factors: Sequence[Factor],
    pairs: Iterable[tuple[str, str]] = (),
    further: Iterable[Point] = (),
) -> list[Point]:
    """Returns the points: the preset, each other value of each factor alone, each pair of others of a pair, and more.

    Raises:
      InputError: a pair names what is no factor, two values do not go together, or of two points that are to be
        compared one leaves images out and the other, whose images come in another way, cannot.
    """
    known = {factor.name: factor for factor in factors}
    points = [Point()]
    for factor in factors:
        points += [Point(((factor.name, value),)) for value in factor.values[1:]]
    for pair in pairs:
        if missing := [name for name in pair if name not in known]:
            raise InputError(f"--pair {','.join(pair)}: expected two of {', '.join(known)}, found {missing[0]}.")
        if len(set(pair)) != 2:
            raise InputError(f"--pair {','.join(pair)}: expected two settings, FIELD,FIELD, found one.")
        first, second = (known[name] for name in pair)
        points += [
            Point(((first.name, one), (second.name, other)))
            for one, other in itertools.product(first.values[1:], second.values[1:])
        ]
    points += further
    for point in points:
        # What is out of range is told before hours of training.
        _check_alike(point, point.config(base).training, base.training)
    return list(dict.fromkeys(points))


def _check_alike(point: Point, own: TrainingConfig, base: TrainingConfig) -> None:
    """Raises InputError where a point streams, or the preset does, and the other of them would prune its images."""
    if not own.input.cached and not base.input.cached and own.prune != base.prune:
        raise InputError(
            f"{point}: expected training.prune as it is where images are streamed, for none of them is left out of a "
            "pass whatever it says. Leave it out."
        )
    pruned = base.prune or own.prune
    if own.input.cached != base.input.cached and pruned:
        way_out = "Give --set training.prune=0." if base.prune else "Try the two apart."
        raise InputError(
            f"{point}: expected training.prune=0 with another training.input.cached, found {pruned}: of images that "
            f"are streamed none is left out of a pass, so that the trainings would not be alike. {way_out}"
        )


def _split(text: str) -> list[str]:
    """Splits at the commas that are in no brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
