"""Which run's model is served, and where the others stand: asked of the serving folder, which alone knows.

The words are those of the field (MLflow's aliases): the champion is served, the challenger is the latest blessed model
that was not published yet. Models are known by their content, so that every run that made the champion is told as such.
"""

import functools
from pathlib import Path

from components.pusher.history import Act, acts, taken_back
from pipeline.metadata.store import Run
from pipeline.output_root import OutputRoot

CHAMPION, CHALLENGER, TAKEN_BACK, FORMER = "champion", "challenger", "taken back", "former"


class Standings:
    """Where the models of an output root's runs stand now; each serving folder is read once."""

    def __init__(self, root: OutputRoot) -> None:
        self._root = root
        self._acts = functools.cache(lambda place: acts(root.serving(place)))

    def content(self, run: Run) -> str | None:
        """Returns by what the model of a run is known, None where it made none."""
        kept = run.properties
        pushed = Path(kept.get("pushed_model") or "0").name
        by_number = {str(act.number): act.content for act in self._of(run)}
        return kept.get("model_digest") or by_number.get(pushed)

    def is_served(self, run: Run) -> bool:
        """Says whether a run made the model that is served where it publishes."""
        shown, content = self._of(run), self.content(run)
        return bool(shown) and content == shown[-1].content

    def of(self, runs: list[Run]) -> dict[str, str]:
        """Returns the standing of each run's model, by the run's id; runs are given the oldest first.

        "champion", "challenger", "taken back" by a rollback, "former": a champion that is kept; others have none.
        """
        challengers = self._challengers(runs)
        found = {}
        for run in runs:
            shown, content = self._of(run), self.content(run)
            if content is None:
                continue
            if shown and content == shown[-1].content:
                found[run.id] = CHAMPION
            elif (run.properties.get("published_as"), content) in challengers:
                found[run.id] = CHALLENGER
            elif content in taken_back(shown):
                found[run.id] = TAKEN_BACK
            elif content in {act.content for act in shown}:
                found[run.id] = FORMER
        return found

    def _challengers(self, runs: list[Run]) -> set[tuple[str, str]]:
        found, decided = set(), set()
        for run in reversed(runs):
            place, content = run.properties.get("published_as"), self.content(run)
            if place in decided or content is None or not run.properties.get("blessed"):
                continue
            shown = self._of(run)
            if content in taken_back(shown):
                continue
            decided.add(place)
            if content not in {act.content for act in shown}:
                found.add((place, content))
        return found

    def _of(self, run: Run) -> list[Act]:
        place = run.properties.get("published_as")
        return self._acts(place) if place else []


def is_served(run: Run, root: OutputRoot) -> bool:
    """Says whether a run made the model that is served where it publishes."""
    return Standings(root).is_served(run)


def served_run(runs: list[Run], root: OutputRoot, like: Run) -> Run | None:
    """Returns the latest blessed run that made what is served now where `like` publishes, None where nobody knows it.

    Args:
      runs: all of them, the oldest first.
      root: their output root.
      like: one of them.
    """
    place, standings = like.properties.get("published_as"), Standings(root)
    same = (run for run in reversed(runs) if place and run.properties.get("published_as") == place)
    return next((run for run in same if run.properties.get("blessed") and standings.is_served(run)), None)
