"""The thirty nights: what arrives, what happens, and what should come of it."""

import dataclasses
import signal
from collections.abc import Callable

import numpy as np

DATE = "2026-09-{:02d}"

Alter = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def inverted(images: np.ndarray, labels: np.ndarray, _: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Turns black to white."""
    return 255 - images, labels


def doubled(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Doubles a class: each image of it again, with a little noise."""
    again = images[labels == 0]
    noisy = np.clip(again.astype(int) + rng.integers(-3, 4, again.shape), 0, 255).astype(np.uint8)
    return np.concatenate([images, noisy]), np.concatenate([labels, np.zeros(len(noisy), labels.dtype)])


def mislabelled(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Gives a tenth of the images the label of another."""
    wrong = rng.random(len(labels)) < 0.1
    known = np.unique(labels)
    shifted = known[(np.searchsorted(known, labels) + rng.integers(1, len(known), len(labels))) % len(known)]
    return images, np.where(wrong, shifted, labels)


def brighter(share: float) -> Alter:
    """Returns what makes the images brighter by a share."""
    return lambda images, labels, _: (np.clip(images * (1 + share), 0, 255).astype(np.uint8), labels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrival:
    """A span that arrives: its day, its version, and what was done to it; a broken one lacks its last bytes."""

    day: int
    version: int = 1
    alter: Alter | None = None
    broken: bool = False
    late_class: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Night:
    """What happens before a night's run, how it is started, and what should come of it.

    Attributes:
      day: of the month.
      what: in words.
      arrives: spans.
      should: in words.
      status: exit status; -9 for a kill.
      trains: whether another model is trained.
      serves: whether another model is served in the morning; None where that is open.
      told: what a run of this night says, its gate or what it failed with.
      flags: of the command.
      kill: whether it is killed while it trains.
      rollback: whether what was served before is served again before it.
    """

    day: int
    what: str = "a usual span"
    arrives: tuple[Arrival, ...]
    should: str = "trained on, published"
    status: int = 0
    trains: bool = True
    serves: bool | None = True
    told: str = ""
    flags: tuple[str, ...] = ()
    kill: bool = False
    rollback: bool = False


def usual(day: int, **more) -> Night:
    """Returns a night with one span."""
    return Night(day=day, arrives=(Arrival(day=day, late_class=day > 21),), serves=more.pop("serves", None), **more)


def set_aside(day: int, what: str, told: str, *, status: int = 3, word: str = "refused", **arrival) -> Night:
    """Returns a night whose span is not let in: refused by the gate, or unreadable; `arrival` is what it is like."""
    return Night(
        day=day,
        what=what,
        arrives=(Arrival(day=day, **arrival),),
        should=f"{word} and set aside; served as before",
        status=status,
        trains=False,
        serves=False,
        told=told,
    )


def scenario() -> list[Night]:
    """Returns the thirty nights."""
    drift = {
        day: usual(
            day,
            what=f"a drift: {4 * (day - 11)} % brighter than at first",
            should="trained on, and warned of" if day >= 14 else "trained on",
            told="warning: all splits: image: brightness" if day >= 14 else "",
        )
        for day in range(12, 19)
    }
    for day, night in drift.items():
        arrival = dataclasses.replace(night.arrives[0], alter=brighter(0.04 * (day - 11)))
        drift[day] = dataclasses.replace(night, arrives=(arrival,))
    special = {
        1: usual(1, what="the first span", told=""),
        3: Night(
            day=3,
            what="no data",
            arrives=(),
            should="nothing new, in seconds; with --span it would be an error",
            trains=False,
            serves=False,
        ),
        4: dataclasses.replace(
            usual(4, what="a usual span, and that of the night before, late", should="both taken up, trained on"),
            arrives=(Arrival(day=3), Arrival(day=4)),
        ),
        5: set_aside(5, "inverted images", "brightness", alter=inverted),
        6: set_aside(6, "a class doubled", "share of 'T-shirt/top'", alter=doubled),
        7: set_aside(7, "10 % wrong labels", "the served model agrees with", alter=mislabelled),
        8: dataclasses.replace(
            usual(8, what="a usual span, and night 7's corrected", should="both taken up, trained on"),
            arrives=(Arrival(day=7, version=2), Arrival(day=8)),
        ),
        9: set_aside(9, "a broken file", "the header promises", status=2, word="told as unreadable", broken=True),
        10: dataclasses.replace(
            usual(10, what="a usual span, and night 9's whole", should="both taken up, trained on"),
            arrives=(Arrival(day=9), Arrival(day=10)),
        ),
        11: dataclasses.replace(
            usual(11, what="a usual span; killed while it trains", should="nothing lost: taken up the next night"),
            status=-signal.SIGKILL,
            trains=False,
            serves=False,
            # Long enough to be met.
            flags=("--set", "training.epochs=30"),
            kill=True,
        ),
        **drift,
        19: usual(19, what="as bright as at first"),
        20: set_aside(20, "a class that nobody knew", "class: 'Bag' is new", late_class=True),
        21: dataclasses.replace(
            usual(21, what="a usual span; night 20's admitted by name", should="the new class is served", serves=True),
            arrives=(Arrival(day=21, late_class=True),),
            flags=("--admit", DATE.format(20)),
        ),
        25: usual(25, what="a usual span, after a rollback by hand", rollback=True),
    }
    return [special.get(day) or usual(day) for day in range(1, 31)]
