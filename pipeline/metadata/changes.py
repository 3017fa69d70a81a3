"""What differs between two structures of JSON, field by field.

Lists are aligned by content, so that one inserted item is one change and not one for each item behind it. An item that
has a name is compared with the one of that name.

Synopsis:

    list(changes({"epochs": 5}, {"epochs": 8}))         # [("epochs", 5, 8)]
    list(changes({"metrics": [1, 3]}, {"metrics": [1, 2, 3]}))      # [("metrics.1", None, 2)]
"""

import difflib
import json
from collections.abc import Iterator

Change = tuple[str, object, object]
_NAMES = ("name", "class_name", "id", "key")


def changes(before: object, after: object, path: str = "") -> Iterator[Change]:
    """Yields a dotted path, the value before and that after for each field that differs; None where there is none."""
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys(), key=str):
            yield from changes(before.get(key), after.get(key), _below(path, key))
    elif isinstance(before, list) and isinstance(after, list):
        yield from _of_lists(before, after, path)
    else:
        yield path, before, after


def _of_lists(before: list, after: list, path: str) -> Iterator[Change]:
    sides = [[json.dumps(item, sort_keys=True, default=str) for item in side] for side in (before, after)]
    for kind, start, end, begin, stop in difflib.SequenceMatcher(None, *sides, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        old, new = list(range(start, end)), list(range(begin, stop))
        for number in list(old):
            partner = next((other for other in new if _alike(before[number], after[other])), None)
            if partner is None and len(old) == len(new) and not _name(before[number]):
                partner = new[0]
            if partner is not None:
                old.remove(number)
                new.remove(partner)
                yield from changes(before[number], after[partner], _below(path, partner))
        yield from ((_below(path, number), before[number], None) for number in old)
        yield from ((_below(path, number), None, after[number]) for number in new)


def _name(item: object) -> object:
    return next((item[key] for key in _NAMES if key in item), None) if isinstance(item, dict) else None


def _alike(item: object, other: object) -> bool:
    name = _name(item)
    return name is not None and name == _name(other)


def _below(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)
