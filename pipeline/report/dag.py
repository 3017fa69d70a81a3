"""Draws the DAG of a run as SVG: what came of what, what waited for which gate, how each node ended.

Rows go by depth, from top to bottom, so that the drawing fits a telephone. What waits for a gate and reads nothing of
it hangs by a dashed line.
"""

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from pipeline.nodes import NODES
from pipeline.report.collect import Node

_WIDTH, _BOX, _HEIGHT, _GAP, _COLUMNS = 460, 134, 42, 30, 3
# Between a line and a box that it passes, and the size of its head.
_CLEAR, _HEAD = 10, 4


Place = tuple[float, float]


def layers(nodes: Sequence[Node]) -> list[list[str]]:
    """Returns the ids by depth: a node lies one below the deepest that it comes after; after none, above its reader."""
    depths: dict[str, int] = {}
    reads = {node.id: (*node.reads, *node.waits) for node in nodes}
    waiting = [node.id for node in nodes]
    while waiting:
        ready = [name for name in waiting if not any(other in waiting for other in reads[name])]
        for name in ready or waiting:
            depths[name] = 1 + max((depths.get(other, -1) for other in reads[name]), default=-1)
        waiting = [name for name in waiting if name not in depths]
    for node in nodes[1:]:
        readers = [depths[other.id] for other in nodes if node.id in other.reads]
        if not node.reads and readers:
            depths[node.id] = max(0, min(readers) - 1)
    found: list[list[str]] = [[] for _ in range(1 + max(depths.values(), default=-1))]
    for node in nodes:
        found[depths[node.id]].append(node.id)
    return found


def direct_reads(nodes: Sequence[Node]) -> dict[str, set[str]]:
    """Returns what each node reads, without what something else that it comes after was made of."""
    reads = {node.id: {*node.reads, *node.waits} for node in nodes}

    def ancestors(name: str, seen: frozenset[str] = frozenset()) -> set[str]:
        further = reads.get(name, set()) - seen
        return further.union(*(ancestors(other, seen | {name}) for other in further))

    return {node.id: set(node.reads) - set().union(*map(ancestors, reads[node.id])) for node in nodes}


def draw(nodes: Sequence[Node]) -> Markup:
    """Returns the <svg> element."""
    rows = [row[start : start + _COLUMNS] for row in layers(nodes) for start in range(0, len(row), _COLUMNS)]
    reads = direct_reads(nodes)
    places = {}
    for depth, row in enumerate(rows):
        for number, name in enumerate(row):
            x = _WIDTH * (number + 1) / (len(row) + 1) if len(row) < 3 else _BOX / 2 + 8 + number * (_BOX + 20)
            places[name] = (x, depth * (_HEIGHT + _GAP) + _HEIGHT / 2 + 4)
    height = len(rows) * (_HEIGHT + _GAP) - _GAP + 8
    width = max([_WIDTH, *(round(x + _BOX / 2 + 8) for x, _ in places.values())])
    parts = [
        _edge(places[other], _around(places[other], places[node.id], places.values()), kind)
        for node in nodes
        for kind, others in (("reads", sorted(reads[node.id])), ("waits", node.waits))
        for other in others
        if other in places
    ]
    parts += [_box(node, *places[node.id]) for node in nodes]
    head = f'<svg class="dag" role="img" aria-label="lineage of the run" viewBox="0 0 {width} {height}">'
    return Markup(head) + Markup("").join(parts) + Markup("</svg>")


def _around(start: Place, end: Place, places: Iterable[Place]) -> list[Place]:
    """Returns the places that a line from `start` goes through, the last is `end`: beside the boxes between them."""
    (x1, y1), (x2, y2) = start, end
    ways = []
    places = list(places)
    for y in sorted({y for _, y in places if y1 < y < y2}):
        straight = x1 + (x2 - x1) * (y - y1) / (y2 - y1)
        boxes = [x for x, other in places if other == y]
        reach = _BOX / 2 + _CLEAR
        free = [straight, *(x + side * reach for x in boxes for side in (-1, 1))]
        free = [x for x in free if all(abs(x - box) >= reach for box in boxes)]
        ways.append((min(free, key=lambda x: abs(x - straight)), y))
    return [*ways, end]


def _edge(start: Place, ways: list[Place], kind: str) -> Markup:
    (x1, y1), d = start, ""
    for x2, y2 in ways:
        top, bottom = y2 - _HEIGHT / 2, y1 + _HEIGHT / 2
        middle = (top + bottom) / 2
        d += f"M{x1:.0f} {bottom:.0f} C{x1:.0f} {middle:.0f} {x2:.0f} {middle:.0f} {x2:.0f} {top:.0f} "
        if (x2, y2) != ways[-1]:
            d += f"V{y2 + _HEIGHT / 2:.0f} "
        x1, y1 = x2, y2
    head = f"{x1:.0f},{top:.0f} {x1 - _HEAD:.0f},{top - 2 * _HEAD:.0f} {x1 + _HEAD:.0f},{top - 2 * _HEAD:.0f}"
    return Markup(f'<path class="{kind}" d="{d.strip()}"/><polygon class="{kind}" points="{head}"/>')


def _box(node: Node, x: float, y: float) -> Markup:
    seconds = "" if node.seconds is None else f", {node.seconds:.1f} s"
    return Markup(
        '<g class="{state}{gate}"><rect x="{left:.0f}" y="{top:.0f}" width="{width}" height="{height}" rx="7"/>'
        '<text x="{x:.0f}" y="{first:.0f}">{name}</text>'
        '<text class="detail" x="{x:.0f}" y="{second:.0f}">{state}{seconds}</text></g>'
    ).format(
        state=node.state,
        gate=" gate" if node.id in NODES and NODES[node.id].gate else "",
        left=x - _BOX / 2,
        top=y - _HEIGHT / 2,
        width=_BOX,
        height=_HEIGHT,
        x=x,
        first=y - 3,
        second=y + 13,
        name=escape(node.id),
        seconds=seconds if node.state in ("ran", "failed") else "",
    )
