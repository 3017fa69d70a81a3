"""Which run's model is served: asked of the serving folder, which alone knows."""

from pathlib import Path

from components.pusher.serving_folder import versions
from pipeline.metadata.store import Run
from pipeline.output_root import OutputRoot


def is_served(run: Run, root: OutputRoot) -> bool:
    """Says whether the files that a run pushed are those which are served where it publishes."""
    pushed, shown = run.properties.get("pushed_model"), _shown(run, root)
    return bool(pushed and shown) and shown.get(int(Path(pushed).name)) == shown[max(shown)]


def served_run(runs: list[Run], root: OutputRoot, like: Run) -> Run | None:
    """Returns the latest run that pushed what is served now where `like` publishes, None where nobody knows it.

    Args:
      runs: all of them, the oldest first.
      root: their output root.
      like: one of them.
    """
    place = like.properties.get("published_as")
    same = (run for run in reversed(runs) if place and run.properties.get("published_as") == place)
    return next((run for run in same if is_served(run, root)), None)


def _shown(run: Run, root: OutputRoot) -> dict[int, int]:
    return versions(root.serving(run.properties.get("published_as", "")))
