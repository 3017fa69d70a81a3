"""Which run's model is served: asked of the serving folder, which alone knows."""

from pathlib import Path

from components.pusher.serving_folder import served_version, versions
from pipeline.metadata.store import Run
from pipeline.output_root import OutputRoot


def served_run(runs: list[Run], root: OutputRoot, like: Run) -> Run | None:
    """Returns the run that pushed what is served now where `like` publishes, None where nobody knows it.

    Args:
      runs: all of them, the oldest first.
      root: their output root.
      like: one of them.
    """
    place = like.properties.get("pushed_model")
    name = Path(place).parent.name if place else _published_as(like)
    base = root.serving(name)
    shown = versions(base)
    served = served_version(base)
    if served is None:
        return None
    for run in reversed(runs):
        pushed = run.properties.get("pushed_model")
        if pushed and Path(pushed).parent.name == name and shown.get(int(Path(pushed).name)) == shown[served]:
            return run
    return None


def _published_as(run: Run) -> str:
    kept = run.properties
    variant = (kept.get("settings") or {}).get("variant", "")
    return "-".join([kept.get("name", ""), *([variant] if variant else [])])
