"""Draws the DAG of a run as SVG: what came of what, how each node ended and how long it took.

Rows go by depth, from top to bottom, so that the drawing fits a telephone.
"""

from collections.abc import Sequence

from markupsafe import Markup, escape

from pipeline.report.collect import Node

_WIDTH, _BOX, _HEIGHT, _GAP, _COLUMNS = 460, 134, 42, 30, 3


def layers(nodes: Sequence[Node]) -> list[list[str]]:
    """Returns the ids by depth: a node lies one below the deepest that it reads, or, reading none, above its reader."""
    depths: dict[str, int] = {}
    reads = {node.id: node.reads for node in nodes}
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
    """Returns what each node reads, without what something else that it reads was made of."""
    reads = {node.id: set(node.reads) for node in nodes}

    def ancestors(name: str, seen: frozenset[str] = frozenset()) -> set[str]:
        further = reads.get(name, set()) - seen
        return further.union(*(ancestors(other, seen | {name}) for other in further))

    return {name: others - set().union(*map(ancestors, others)) for name, others in reads.items()}


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
        _edge(places[other], places[node.id]) for node in nodes for other in sorted(reads[node.id]) if other in places
    ]
    parts += [_box(node, *places[node.id]) for node in nodes]
    head = f'<svg class="dag" role="img" aria-label="lineage of the run" viewBox="0 0 {width} {height}">'
    return Markup(head) + Markup("").join(parts) + Markup("</svg>")


def _edge(start: tuple[float, float], end: tuple[float, float]) -> Markup:
    (x1, y1), (x2, y2) = start, end
    y1, y2 = y1 + _HEIGHT / 2, y2 - _HEIGHT / 2
    middle = (y1 + y2) / 2
    return Markup(f'<path d="M{x1:.0f} {y1:.0f} C{x1:.0f} {middle:.0f} {x2:.0f} {middle:.0f} {x2:.0f} {y2:.0f}"/>')


def _box(node: Node, x: float, y: float) -> Markup:
    seconds = "" if node.seconds is None else f", {node.seconds:.1f} s"
    return Markup(
        '<g class="{state}"><rect x="{left:.0f}" y="{top:.0f}" width="{width}" height="{height}" rx="7"/>'
        '<text x="{x:.0f}" y="{first:.0f}">{name}</text>'
        '<text class="detail" x="{x:.0f}" y="{second:.0f}">{state}{seconds}</text></g>'
    ).format(
        state=node.state,
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
