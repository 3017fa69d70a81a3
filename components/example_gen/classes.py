"""Names the classes of a data set, and numbers them from 0 without a hole.

Synopsis:

    classes = name_classes(np.array([1, 3, 3]), given=None, listed=None)
    classes.names, list(classes.number(np.array([3, 1])))      # ("1", "3"), [1, 0]
"""

import dataclasses
import unicodedata
from pathlib import Path

import numpy as np

from components.errors import InputError
from components.example_gen.kinds.registry import natural
from components.text import read_text

_TOLD = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classes:
    """The classes of a data set, those that occur in its training part.

    Attributes:
      names: by number.
      values: the label that each has in the files, a whole number or a text.
      notes: what a person should know of how they were numbered.
    """

    names: tuple[str, ...]
    values: tuple[int | str, ...]
    notes: tuple[str, ...] = ()

    def number(self, labels: np.ndarray) -> np.ndarray:
        """Returns the number of each label's class, int64 [n]; -1 where it is none of them."""
        # As text: of the folders "1" and "b" training may have both, and another part, which has "1" alone, a number.
        numbers = {str(value): number for number, value in enumerate(self.values)}
        return np.array([numbers.get(str(label), -1) for label in labels.tolist()], np.int64)


def name_classes(
    labels: np.ndarray,
    *,
    given: tuple[str, ...] | None,
    listed: tuple[str, ...] | None,
    earlier: Classes | None = None,
) -> Classes:
    """Names the classes that occur.

    Args:
      labels: of the training part as in the files, int64 or text [n].
      given: names by label, as the files themselves tell them.
      listed: names that a person wrote beside the files, which go before the others.
      earlier: classes of the spans before, which come first, whether they occur or not.

    Returns:
      The classes in the order of the listed names, else of their labels.

    Raises:
      InputError: fewer than two occur, a label is negative, or the names do not fit the labels or are empty.
    """
    if earlier is not None:
        return _behind(earlier, labels, given, listed)
    values = sorted(set(labels.tolist()), key=natural if labels.dtype.kind == "U" else None)
    if len(values) < 2:
        raise InputError(f"expected two or more classes, found {_told(values)} alone. Add images of another class.")
    names = listed or given
    if labels.dtype.kind == "U":
        return _of_texts(values, listed)
    if listed and set(map(str, values)) <= set(listed):
        # The names are the numbers themselves, of folders most likely, in whatever order a listing had them.
        classes = _of_texts(list(map(str, values)), listed)
        return dataclasses.replace(classes, values=tuple(map(int, classes.values)))
    if values[0] < 0:
        raise InputError(f"expected labels of 0 and more, found {values[0]}. Number the classes from 0.")
    notes = []
    if values != list(range(len(values))):
        missing = sorted(set(range(values[-1])) - set(values)) if values[-1] < 10 * len(values) else []
        notes.append(
            f"labels from {values[0]} to {values[-1]}"
            f"{f' without {_told(missing)}' if missing and values[0] + len(values) <= values[-1] else ''}: "
            f"{len(values)} classes, numbered from 0"
        )
    if names is None:
        return Classes(names=tuple(map(str, values)), values=tuple(values), notes=tuple(notes))
    if len(names) > values[-1]:
        occurring = set(values)
        absent = [name for label, name in enumerate(names) if label not in occurring]
        if absent:
            notes = [f"no image of {_told(absent)}: {len(values)} classes of the {len(names)} that are named"]
        named = tuple(names[value] for value in values)
    elif len(names) == len(values):
        named = tuple(names)
    else:
        raise InputError(
            f"expected labels below {len(names)}, the number of classes that "
            f"{'classes.txt names' if listed else 'are named'}, found {values[-1]} at position "
            f"{int(labels.argmax())}. Name each class, or mend the label."
        )
    if not all(name.strip() for name in named):
        label = next(value for value, name in zip(values, named, strict=True) if not name.strip())
        raise InputError(f"expected a name for each class, found none for label {label}. Name it.")
    if len(set(named)) < len(named):
        raise InputError(f"expected a name of its own for each class, found {_told(sorted(named))}. Rename them.")
    return Classes(names=named, values=tuple(values), notes=tuple(notes))


def _behind(
    earlier: Classes, labels: np.ndarray, given: tuple[str, ...] | None, listed: tuple[str, ...] | None
) -> Classes:
    """Returns the classes of earlier spans, and behind them the new ones that occur."""
    occurring = np.unique(labels)
    # Also where one span has whole numbers for labels and another texts.
    same = all(isinstance(value, str) == (labels.dtype.kind == "U") for value in earlier.values)
    known = np.array(earlier.values) if same else np.array(list(map(str, earlier.values)))
    if given and not listed and labels.dtype.kind != "U":
        count = len(earlier.names)
        if earlier.values == tuple(range(1, count + 1)) and given[:count] == earlier.names:
            # Numbered from 1, as the list is, which begins with the names that these have.
            given = ("0", *given)
        given = _with_names_before(given, earlier, occurring)
    found = name_classes(
        np.concatenate([known, occurring if same else occurring.astype(str)]), given=given, listed=listed
    )
    if given and not listed:
        _check_names(earlier, found)
    told = set(map(str, earlier.values))
    new = [pair for pair in zip(found.names, found.values, strict=True) if str(pair[1]) not in told]
    taken = dict(zip(earlier.names, earlier.values, strict=True))
    for name, value in new:
        if name in taken:
            raise InputError(
                f"expected a name of its own for each class, found label {value} called '{name}', as label "
                f"{taken[name]} is in the spans before. Number the classes as before, or rename it."
            )
    return Classes(
        names=(*earlier.names, *(name for name, _ in new)),
        values=(*earlier.values, *(value for _, value in new)),
    )


def _with_names_before(given: tuple[str, ...], earlier: Classes, occurring: np.ndarray) -> tuple[str, ...]:
    """Returns the names that the files give and, where their list ends before, those of the earlier classes behind."""
    pairs = zip(earlier.values, earlier.names, strict=True)
    named = {value: name for value, name in pairs if isinstance(value, int)}
    last = max(named, default=-1)
    if not occurring.max() < len(given) <= last or len(given) == len({*named, *occurring.tolist()}):
        return given
    return (*given, *(named.get(value, str(value)) for value in range(len(given), last + 1)))


def _check_names(earlier: Classes, found: Classes) -> None:
    """Raises `InputError` where the files give a class another name than those of the spans before: it is another."""
    now = {str(value): name for value, name in zip(found.values, found.names, strict=True)}
    for value, name in zip(earlier.values, earlier.names, strict=True):
        # A number for a name says nothing: the files had none.
        if str(value) not in (name, now[str(value)]) and now[str(value)] != name:
            raise InputError(
                f"expected the names that the classes had in the spans before, found label {value} called "
                f"'{now[str(value)]}' and '{name}' before. Number the classes as before, new ones behind them, or "
                "list their names in classes.txt."
            )


def _of_texts(values: list[str], listed: tuple[str, ...] | None) -> Classes:
    if listed is None:
        return Classes(names=tuple(values), values=tuple(values))
    known, occurring = set(listed), set(values)
    if unknown := [value for value in values if value not in known]:
        raise InputError(f"expected the classes {_told(listed)}, found {_told(unknown)} too. List it, or take it away.")
    present = tuple(name for name in listed if name in occurring)
    absent = [name for name in listed if name not in occurring]
    notes = (f"no image of {_told(absent)}: {len(present)} classes of the {len(listed)} that are named",)
    return Classes(names=present, values=present, notes=notes if absent else ())


def read_class_names(path: Path) -> tuple[tuple[str, ...], str]:
    """Reads a file of class names, one a line, whatever wrote it: Windows line ends, UTF-16, a mark at the beginning.

    Returns:
      The names, and a note if the encoding had to be guessed.

    Raises:
      InputError: they are fewer than two, or not different.
    """
    text, note = read_text(path)
    names = tuple(unicodedata.normalize("NFC", line.strip()) for line in text.splitlines() if line.strip())
    if len(set(names)) != len(names) or len(names) < 2:
        raise InputError(f"{path}: expected two or more different class names, one a line, found {list(names)}.")
    return names, note


def _told(values: list | tuple) -> str:
    return ", ".join(map(str, values[:_TOLD])) + (", ..." if len(values) > _TOLD else "") if values else "none"
