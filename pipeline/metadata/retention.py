"""What must stay on the disk: the one rule of `gc` and of what each run clears behind itself.

Of each name under which models are published the latest runs stay whole, as many as its latest run's `kept_runs` says;
so do runs that go on. Beyond them stays what is served and can be served again, what the next candidate and the next
data will be compared with, the newest version of each span, and everything that any of these was made of. What was only
looked up by a resolver (a baseline, the data of an earlier gate, a model that a training begins with) stays itself,
without what it was made of: each model would keep the one before it, and so all of them. The model that the gate asked
about the labels of a span goes with its runs: the verdict has what it said, and each span would keep one. What an
execution put out stays or goes together: TFX's cache needs all.

Synopsis:

    store = Store(Path("output/metadata.db"))
    stays = what_stays(store, OutputRoot("output"))
    stays.artifacts, stays.runs, stays.since
"""

import dataclasses
import math
from collections import defaultdict

from components.properties import ASKED_MODEL, EXAMPLES_ID, SPAN_NUMBER, SPAN_VERSION
from components.pusher.history import acts, push_order, taken_back
from pipeline.config import PipelineConfig
from pipeline.metadata.artifacts import looked_up
from pipeline.metadata.store import Run, Store
from pipeline.output_root import OutputRoot

# Of a gate that compares with the latest other: a rerun of the latest is compared with the one before it. So are two
# data sets that take turns.
_COMPARED_WITH = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stays:
    """What stays.

    Attributes:
      artifacts: ids.
      runs: ids of those whose log and report stay.
      since: when the oldest of the latest runs began, in milliseconds since 1970; what an interrupted training left
        before that nobody takes up again. None: there is no older run.
    """

    artifacts: set[int]
    runs: set[str]
    since: int | None


def what_stays(store: Store, root: OutputRoot, keep: int | None = None) -> Stays:
    """Returns what must stay of an output root.

    Args:
      store: its database.
      root: it.
      keep: how many of the latest runs of each name; None: as their settings say.
    """
    runs = store.runs()
    open_runs = {run.id for run in runs if run.properties.get("state") == "running"}
    open_runs |= {execution.run for execution in store.executions.values() if execution.is_open}
    latest = latest_runs(runs, keep) | open_runs
    # Whole: with what it was made of. Alone: without.
    whole, alone = of_runs(store, latest)
    needed = published(store, root) | baselines(store, root)
    whole |= needed | accepted_data(store) | span_data(store)
    makers = {store.producers.get(number) for number in needed} - {None}
    return Stays(
        artifacts=_with_makings(store, whole, alone),
        runs=latest | {store.executions[maker].run for maker in makers},
        since=_since(runs, keep, open_runs),
    )


def kept_runs(runs: list[Run]) -> dict[str | None, int | None]:
    """Returns, by name, how many of its latest runs stay: as the latest of them says; None: all.

    Runs that kept no record of themselves have no name.
    """
    return {
        run.properties.get("published_as"): (run.properties.get("settings") or {}).get(
            "kept_runs", PipelineConfig.kept_runs
        )
        for run in runs
    }


def latest_runs(runs: list[Run], keep: int | None = None) -> set[str]:
    """Returns the ids of the latest runs of each name; `keep` as that of `what_stays`."""
    by_name: dict[str | None, list[Run]] = defaultdict(list)
    for run in runs:
        by_name[run.properties.get("published_as")].append(run)
    counts = kept_runs(runs) if keep is None else dict.fromkeys(by_name, keep)
    return {run.id for name, own in by_name.items() for run in _last(own, counts[name])}


def _last(runs: list[Run], count: int | None) -> list[Run]:
    return runs if count is None else runs[max(0, len(runs) - count) :]


def _since(runs: list[Run], keep: int | None, open_runs: set[str]) -> int | None:
    """Returns `Stays.since`, which knows no names: nothing tells whose training a checkpoint is of."""
    counts = [keep] if keep is not None else list(kept_runs(runs).values())
    if None in counts or len(runs) <= max(counts, default=0):
        return None
    own = [run.started for run in runs if run.id in open_runs]
    # Of none of them: all but what a run writes now.
    return min([*(run.started for run in _last(runs, max(counts))), *own], default=runs[-1].started)


def of_runs(store: Store, runs: set[str]) -> tuple[set[int], set[int]]:
    """Returns what runs made, took from the cache or read, and what they looked up."""
    whole, alone, chosen = set(), set(), looked_up(store)
    for execution in store.executions.values():
        if execution.run in runs:
            events = [*store.outputs.get(execution.id, ()), *store.inputs.get(execution.id, ())]
            for _, number in events:
                (alone if (execution.run, number) in chosen else whole).add(number)
    return whole, alone


def published(store: Store, root: OutputRoot) -> set[int]:
    """Returns what is served and what a rollback can go back to: the latest pushed model of each version, and models.

    Models are looked for by their content too: a push that was killed is not in ML Metadata yet.
    """
    places = store.property_of_all("Artifact", "pushed_destination")
    pushed = {
        root.version(place): number for number, place in sorted(places.items()) if place and _is_live(store, number)
    }
    contents = {act.content for folder in root.serving_folders() for act in acts(folder)}
    models = {
        digest: number
        for number, digest in sorted(store.property_of_all("Artifact", "digest").items())
        if digest in contents and store.artifacts[number].type == "Model" and _is_live(store, number)
    }
    said = {model: blessing for blessing, model in blessed_models(store)}
    found = {number for version, number in pushed.items() if version.exists()} | set(models.values())
    return found | {said[model] for model in models.values() if model in said}


def blessed_models(store: Store) -> list[tuple[int, int]]:
    """Returns each blessing of a model with that model, the oldest first; both are there."""
    pairs = []
    for blessing, value in sorted(store.property_of_all("Artifact", "blessed").items()):
        if value == 1 and store.artifacts[blessing].type == "ModelBlessing" and _is_live(store, blessing):
            inputs = store.inputs.get(store.producers.get(blessing, 0), ())
            pairs += [(blessing, number) for key, number in inputs if key == "model" and _is_live(store, number)]
    return pairs


def baselines(store: Store, root: OutputRoot) -> set[int]:
    """Returns what the next candidate may be compared with, as components/latest_blessed.py chooses.

    That is the served model or the latest blessed one; for the served model itself, made again, the one before it. What
    was blessed last and not published yet (the challenger) is among them.
    """
    back = {content for folder in root.serving_folders() for content in taken_back(acts(folder))}
    contents = store.property_of_all("Artifact", "digest")
    by_pipeline: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for blessing, model in blessed_models(store):
        by_pipeline[_pipeline(store, blessing)].append((blessing, model))
    served: dict[str, int] = {}
    models, pushed, versions = (
        store.property_of_all("Artifact", name) for name in ("model_id", "pushed", "pushed_version")
    )
    for number in sorted(pushed, key=lambda number: push_order(versions.get(number), number)):
        if pushed[number] == 1 and _is_live(store, number) and number in models:
            served[_pipeline(store, number)] = models[number]
    found: set[int] = set()
    for pipeline, pairs in by_pipeline.items():
        latest = [pair for pair in pairs if contents.get(pair[1]) not in back]
        found |= _of_different(latest, _COMPARED_WITH)
        own = [position for position, (_, model) in enumerate(pairs) if model == served.get(pipeline)]
        if own:
            found |= {*pairs[own[-1]]}
            found |= _of_different([pair for pair in pairs[: own[-1]] if pair[1] != served[pipeline]], 1)
    return found


def accepted_data(store: Store) -> set[int]:
    """Returns the statistics that the gate may compare with, and their blessings."""
    by_pipeline: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for blessing, statistics in _accepted(store):
        by_pipeline[_pipeline(store, blessing)].append((blessing, statistics))
    return {number for pairs in by_pipeline.values() for number in _of_different(pairs, _COMPARED_WITH)}


def span_data(store: Store) -> set[int]:
    """Returns what later windows are trained on: the newest version that passed of each span, back to the first window.

    That is the widest of those that the latest runs trained on or were asked for: one night with a narrow one takes
    nothing away. They are the span's Examples, their statistics and the blessing; data that come in no spans have none.
    """
    numbers, versions, examples, statistics = (
        store.property_of_all("Artifact", name)
        for name in (SPAN_NUMBER, SPAN_VERSION, EXAMPLES_ID, "current_statistics_id")
    )
    pipelines = {execution.run: execution.pipeline for execution in store.executions.values()}
    recent = latest_runs(store.runs())
    runs = [run for run in store.runs() if run.id in pipelines and run.id in recent]
    firsts: dict[str, float] = {}
    # Of no width: all of them.
    windows: dict[str, float] = {}
    for run in runs:
        name, asked = pipelines[run.id], (run.properties.get("settings") or {}).get("window")
        trained_on = [span["number"] for span in run.properties.get("window") or ()]
        firsts[name] = min([firsts.get(name, math.inf), *trained_on])
        windows[name] = max(windows.get(name, 0), asked or math.inf)
    newest: dict[tuple[str, int], tuple[int, set[int]]] = {}
    for blessing, _ in _accepted(store):
        of = _pipeline(store, blessing), numbers.get(blessing, -1)
        # Of examples that were blessed again the first blessing counts, as in components/span_window/choosing.py.
        if of in newest and (versions[blessing] < newest[of][0] or examples.get(blessing) in newest[of][1]):
            continue
        if blessing in numbers:
            newest[of] = versions[blessing], {blessing, examples[blessing], statistics[blessing]}
    for pipeline, window in windows.items():
        own = sorted(number for name, number in newest if name == pipeline)
        latest = own if window == math.inf else own[-int(window) :]
        firsts[pipeline] = min([firsts[pipeline], *latest])
    return {
        number
        for (pipeline, span), (_, found) in newest.items()
        if span >= firsts.get(pipeline, 0)
        for number in found
        if _is_live(store, number)
    }


def _accepted(store: Store) -> list[tuple[int, int]]:
    """Returns each blessing of data with the statistics that it blesses, the oldest first; both are there."""
    blessed = store.property_of_all("Artifact", "blessed")
    subjects = store.property_of_all("Artifact", "current_statistics_id")
    return [
        (blessing, subject)
        for blessing, subject in sorted(subjects.items())
        if blessed.get(blessing) == 1 and _is_live(store, blessing) and _is_live(store, subject)
    ]


def _of_different(pairs: list[tuple[int, int]], count: int) -> set[int]:
    """Returns the latest pairs of blessing and subject of the last `count` different subjects."""
    latest = {subject: blessing for blessing, subject in pairs}
    chosen = sorted(latest.items(), key=lambda item: item[1])[-count:]
    return {number for pair in chosen for number in pair}


def _with_makings(store: Store, whole: set[int], alone: set[int]) -> set[int]:
    chosen, alone = looked_up(store), set(alone)
    waiting, seen = list(whole), set()
    while waiting:
        number = waiting.pop()
        if number in seen:
            continue
        seen.add(number)
        maker = store.producers.get(number)
        if maker is not None:
            waiting += [output for _, output in store.outputs.get(maker, ())]
            run = store.executions[maker].run
            for key, read in store.inputs.get(maker, ()):
                if key == ASKED_MODEL:
                    continue
                alone.add(read) if (run, read) in chosen else waiting.append(read)
    together = {output for number in alone for _, output in store.outputs.get(store.producers.get(number, 0), ())}
    return seen | alone | together


def _pipeline(store: Store, artifact: int) -> str:
    maker = store.executions.get(store.producers.get(artifact, 0))
    return maker.pipeline if maker else ""


def _is_live(store: Store, number: int) -> bool:
    artifact = store.artifacts.get(number)
    return artifact is not None and artifact.state == "live"
