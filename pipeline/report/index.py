"""Gathers what the page of all runs tells, from the properties of the runs in ML Metadata and the serving folders.

No run's summary is read, but of those that an older version recorded. Whatever is missing is left out.

Synopsis:

    overview = overlook(OutputRoot("output"))
    overview.entries[-1].accuracy, overview.entries[-1].state
"""

import dataclasses

from components.evaluator.chance import interval
from pipeline.metadata.periods import Period, served_periods
from pipeline.metadata.served import CHAMPION, Standings
from pipeline.metadata.store import Run, Store
from pipeline.output_root import OutputRoot
from pipeline.run.listed import LISTED, listed

# Older ones are left to `python -m pipeline.metadata runs`: the page stays one that a telephone can open.
SHOWN = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A run as the page shows it; times are milliseconds since 1970.

    Attributes:
      id, started, seconds: of the run.
      state: how it ended, "blessed" where its model was.
      place: the name under which its model is published.
      described: preset and seed.
      span: None, or the span that it took up: `name`, `number`, `version`, `admitted`.
      window: names of the spans that it trained on.
      images: of the data that it took up.
      digest, labels, pixels: of these: images by class, mean and std.
      accuracy, low, high, examples: on test, the 95 % interval, and of how many; None without an evaluation.
      standing: of its model: "champion", "challenger", "taken back", "former" or "".
      periods: in which its model was served, told at the first run that made it.
      content: by which its model is known.
      disk: bytes of the output root at its end.
      gate: what the data gate said of these, "passed" or "refused"; "" where it was not asked.
      node: that failed, or that it was interrupted in; "" where nobody knows.
      part: of one that was a part of the DAG, the nodes that ran or came from the cache; () of a whole one.
      reasons, warnings: why it was refused or failed; what the data gate let pass.
      note, tags: what a person wrote.
      report: address of its report from the page, None where it is gone.
    """

    id: str
    started: int
    state: str
    place: str = ""
    described: str = ""
    seconds: float | None = None
    span: dict | None = None
    window: tuple[str, ...] = ()
    images: int | None = None
    digest: str | None = None
    labels: dict[str, int] = dataclasses.field(default_factory=dict)
    pixels: dict[str, float] = dataclasses.field(default_factory=dict)
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    examples: int | None = None
    standing: str = ""
    periods: tuple[Period, ...] = ()
    content: str | None = None
    disk: int | None = None
    gate: str = ""
    node: str = ""
    part: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    note: str = ""
    tags: tuple[str, ...] = ()
    report: str | None = None

    @property
    def is_served(self) -> bool:
        """Whether its model is served now."""
        return self.standing == CHAMPION

    @property
    def is_success(self) -> bool:
        """Whether it did all that it was to do."""
        return self.state in ("blessed", "done")

    @property
    def data(self) -> str:
        """By what the data are known that it took up: a version of a span, or a data set; "" where nobody knows."""
        return f"{self.span['name']}/{self.span.get('version', 0)}" if self.span else self.digest or ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overview:
    """All runs of an output root, the oldest first; `left_out` more are older than those.

    `periods` has, for each name that something is served under, when which model was.
    """

    entries: list[Entry]
    periods: dict[str, list[Period]]
    left_out: int = 0

    def served(self, place: str) -> tuple[Period, Entry | None] | None:
        """Returns since when what is served under a name, and the run that made it; None where nothing is."""
        periods = self.periods.get(place)
        if not periods:
            return None
        makers = [e for e in self.entries if e.place == place and e.content == periods[-1].content]
        return periods[-1], next((entry for entry in makers if entry.accuracy is not None), None)


def overlook(root: OutputRoot) -> Overview:
    """Returns what there is to tell of the runs of an output root.

    Raises:
      InputError: there is no database of ML Metadata, or it cannot be read.
    """
    store = Store(root.metadata)
    runs = store.runs()
    standings = Standings(root)
    stands = standings.of(runs)
    places = list(dict.fromkeys(run.properties["published_as"] for run in runs if "published_as" in run.properties))
    periods = {place: found for place in places if (found := served_periods(root, runs, place, standings))}
    told: set[tuple[str, str | None]] = set()
    entries = []
    for run in runs:
        place, content = run.properties.get("published_as", ""), standings.content(run)
        own = [p for p in periods.get(place, ()) if p.content == content and (place, content) not in told]
        if own:
            told.add((place, content))
        entries.append(_entry(store, root, run, stands.get(run.id, ""), content, tuple(own)))
    return Overview(entries=entries[-SHOWN:], periods=periods, left_out=max(0, len(entries) - SHOWN))


def _entry(
    store: Store, root: OutputRoot, run: Run, standing: str, content: str | None, periods: tuple[Period, ...]
) -> Entry:
    kept = run.properties
    # Of before this was kept beside the summary.
    shown = kept[LISTED] if LISTED in kept else listed(store.whole(run).record)
    state, accuracy, examples = kept.get("state", "unknown"), kept.get("test_accuracy"), shown.get("examples")
    low, high = interval(round(accuracy * examples), examples) if accuracy is not None and examples else (None, None)
    folder = root.run(run.id)
    return Entry(
        id=run.id,
        started=run.started,
        state="blessed" if state == "done" and kept.get("blessed") else state,
        place=kept.get("published_as") or kept.get("name") or "",
        described=", ".join(
            f"{word}{kept[name]}" for name, word in (("preset", ""), ("seed", "seed ")) if kept.get(name) is not None
        ),
        seconds=kept.get("wall_seconds"),
        span=kept.get("span"),
        window=tuple(span["name"] for span in kept.get("window") or ()),
        images=shown.get("images"),
        digest=shown.get("digest"),
        labels=shown.get("labels") or {},
        pixels=shown.get("pixels") or {},
        accuracy=accuracy,
        low=low,
        high=high,
        examples=examples,
        standing=standing,
        periods=periods,
        content=content,
        disk=shown.get("disk_bytes"),
        gate=kept.get("data_gate") or "",
        node=(kept.get("failure") or {}).get("node") or shown.get("node") or "",
        part=tuple(shown.get("part") or ()),
        reasons=tuple(shown.get("reasons", ())),
        warnings=tuple(shown.get("warnings", ())),
        note=str(kept.get("note") or ""),
        tags=tuple(kept.get("tags") or ()),
        report=f"runs/{run.id}/{folder.report.name}" if folder.report.is_file() else None,
    )
