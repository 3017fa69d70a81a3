"""Runs the pipeline once: locks the output root, runs the DAG and keeps the record; telling.py tells the result.

Synopsis:

    run_pipeline(Settings.of(preset("smoke")), Path("."))     # 0: done; README.md has the other exit statuses
"""

import datetime
import os
import shutil
import time
from pathlib import Path

from components import places
from components.errors import InputError, PipelineError, disk_told
from components.evaluator.floors import check_floors
from components.example_gen.dataset import Dataset
from components.pusher.serving_folder import check_replaces
from models.host import for_good
from models.plain_paths import UNLOADABLE
from pipeline.engine.options import check_engine
from pipeline.metadata.shared import check_asked, join, membership, of_run
from pipeline.nodes import Selection
from pipeline.output_root import OutputRoot, RunFolder
from pipeline.run.aftermath import followed_up, made
from pipeline.run.console import Console
from pipeline.run.data import check_classes, describe_plan, find_dataset, model_name
from pipeline.run.outcome import exit_status_of
from pipeline.run.telling import clear_if_possible, tell, write_index_if_possible, write_report_if_possible
from pipeline.scratch import scratch
from pipeline.settings import Settings
from pipeline.surroundings import taken_over


@followed_up
def run_pipeline(
    settings: Settings,
    project: Path,
    selection: Selection | None = None,
    *,
    dataset: Dataset | None = None,
    log_format: str = "text",
    labels: dict | None = None,
) -> int:
    """Runs the DAG and returns the exit status.

    Args:
      settings: what is in force.
      project: its folder; `data/` is looked for there.
      selection: the part of the DAG to run; the whole of it by default.
      dataset: what to read; by default what the settings or, for a part of the DAG, its base says.
      log_format: "text" or "json", of what is told meanwhile.
      labels: `note` and `tags` of the run, as pipeline/metadata/labels.py checked them.

    Raises:
      InputError: data, settings or output root cannot be used; nothing was run.
    """
    started = time.monotonic()
    root = OutputRoot(settings.config.output_root)
    check(settings)
    _check_engine(settings)
    if dataset is None and not selection:
        dataset = find_dataset(settings.config, project, root)
    plan = _plan(settings, dataset)
    join(settings.config.metadata_database, root)
    run_id = of_run(f"{datetime.datetime.now():%Y%m%d-%H%M%S-%f}"[:-3], membership(root))
    folder = root.make_run(run_id)
    made(folder)
    try:
        with (
            disk_told(),
            root.lock("Wait for it, or choose another --output-root."),
            scratch(root.path) as temporary,
            taken_over(os.environ, temporary) as notes,
            Console(folder.log, log_format) as console,
        ):
            return _run(
                settings, dataset, [*plan, *notes], project, selection, run_id, folder, console, started, labels or {}
            )
    except (PipelineError, KeyboardInterrupt):
        # Refused or stopped before anything was recorded: nothing of it stays.
        if not folder.summary.exists():
            shutil.rmtree(folder.folder, ignore_errors=True)
        raise


def tell_plan(
    settings: Settings, project: Path, selection: Selection | None = None, *, log_format: str = "text"
) -> int:
    """Prints what a run would do, node by node, and why; changes nothing. Returns the exit status 0.

    Raises:
      InputError: data, settings or database cannot be used.
    """
    root = OutputRoot(settings.config.output_root)
    check(settings)
    dataset = None if selection else find_dataset(settings.config, project, root)
    plan = _plan(settings, dataset)
    with (
        scratch() as folder,
        taken_over(os.environ, folder) as notes,
        Console(folder / "log.txt", log_format) as console,
    ):
        for line in [*plan, *notes]:
            console.line(line)
        console.start("imports")
        from pipeline.run.dry_run import foresee
        from pipeline.run.provenance import collect

        settings, dataset, base = _choose(settings, dataset, project, selection, root)
        for forecast in foresee(settings, dataset, collect(settings, dataset, project), base):
            console.line(f"{forecast.id:<20} {forecast.state:<9}  {forecast.reason}")
    return 0


def _plan(settings: Settings, dataset) -> list[str]:
    try:
        return describe_plan(settings.config, dataset) if dataset and not dataset.unreadable else []
    except InputError as error:
        raise settings.refusal(error) from None


def check(settings: Settings) -> None:
    """Raises InputError where settings cannot be run with, as far as can be told without TensorFlow and the data."""
    for flag, path in (("--output-root", settings.config.output_root), ("--data-dir", settings.config.data_dir)):
        check_path(flag, path)
    try:
        check_asked(settings.config.metadata_database, OutputRoot(settings.config.output_root))
        check_floors(settings.config.floors)
    except InputError as error:
        raise settings.refusal(error) from None
    _check_search(settings)


def _check_search(settings: Settings) -> None:
    given = [told for name, told in settings.origins.items() if name.startswith("tune.") and name != "tune.enabled"]
    if not settings.config.tune.enabled and (alone := [told for told in given if told.startswith("--")]):
        raise InputError(f"{alone[0]}: expected a search (--tune), whose setting it is, found none. Add --tune.")
    if settings.config.tune.enabled and settings.config.training.warm_start:
        raise settings.refusal(
            InputError(
                "training.warm_start: expected false with a search (--tune), found true: its trials begin anew, and "
                "what is best for them need not be for a warm start. Leave out one of the two."
            )
        )


def _check_engine(settings: Settings) -> None:
    try:
        check_engine(settings.config)
    except InputError as error:
        raise settings.refusal(error) from None


def check_path(flag: str, path: Path | None) -> None:
    """Raises InputError where a path can be no text in ML Metadata, or no line on the console."""
    text = str(path or "")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{flag} {text!a}: expected a path in UTF-8, found another encoding. Rename the folder, or set the "
            "locale to one in UTF-8 (LC_ALL=C.UTF-8)."
        ) from None
    if not text.isprintable() and any(ord(letter) < 32 for letter in text):
        raise InputError(f"{flag} {text!a}: expected no control characters in a path, found one. Rename it.")


def _choose(settings: Settings, dataset, project: Path, selection: Selection | None, root: OutputRoot) -> tuple:
    """Returns settings, data set and base of a run; for a part of the DAG they are an earlier run's.

    Raises:
      InputError: that cannot be run, or its model could not be published.
    """
    from models.recipe import check_names
    from pipeline.run.partial_run import find_base

    base = None
    if selection:
        base = find_base(settings, selection, root)
        settings, dataset = base.settings or settings, base.dataset or dataset
        # One of the two may be that run's.
        _check_search(settings)
        if dataset is None and settings.config.in_spans:
            raise InputError(
                f"{selection}: expected a node behind ExampleGen, for which span that reads follows from what is new. "
                "Leave it out: what is new is taken up."
            )
    dataset = dataset or find_dataset(settings.config, project, root)
    config = settings.config
    try:
        if not dataset.unreadable:
            check_classes(config, dataset)
    except InputError as error:
        raise settings.refusal(error) from None
    try:
        check_names(config.training)
    except ValueError as error:
        raise settings.refusal(ValueError(f"training.{error}")) from None
    if not config.replace_other_classes and not selection and not dataset.span:
        # Before the training, not behind it.
        card = {"image_shape": dataset.image_shape, "class_names": dataset.class_names}
        check_replaces(card, root.serving(model_name(config, dataset)))
    return settings, dataset, base


def _run(
    settings: Settings,
    dataset,
    plan: list[str],
    project: Path,
    selection: Selection | None,
    run_id: str,
    folder: RunFolder,
    console: Console,
    started: float,
    labels: dict,
) -> int:
    root = OutputRoot(settings.config.output_root)
    if dataset:
        console.line(_first_line(run_id, settings, dataset))
        for line in plan:
            console.line(line)
    if odd := [letter for letter in UNLOADABLE if letter in str(root.path.resolve())]:
        console.line(
            f"served models: by a path with {' and '.join(odd)} in it TensorFlow cannot load them, nor can TensorFlow "
            "Serving; serve them through a link without, or load them by a relative path"
        )
    console.start("imports")
    # TensorFlow and TFX take seconds to import, and --help or a wrong path must not wait for them.
    with for_good():
        from pipeline.metadata.library import connection_to
        from pipeline.metadata.store import Store
        from pipeline.pipeline import create_pipeline
        from pipeline.run.abandoned import settle
        from pipeline.run.database import check_database, told_in_a_line
        from pipeline.run.provenance import collect
        from pipeline.run.record import RunRecord, opening
        from pipeline.run.runner import ReportingRunner

    settings, dataset, base = _choose(settings, dataset, project, selection, root)
    connection = connection_to(root)
    check_database(connection, console.line)
    with told_in_a_line(connection):
        settle(connection, root, run_id)
    if base and base.dataset:
        console.line(_first_line(run_id, settings, dataset) + _stands_on(base))
    console.end("imports", "", time.monotonic() - started)
    made_of = collect(settings, dataset, project)
    if "refuses" in (missing := made_of["git"]["missing"] or ""):
        console.line(f"no revision: {missing}")
    record = RunRecord(
        folder,
        connection,
        opening(run_id, settings, dataset, made_of) | labels,
        keepers=Store(root.metadata).keepers(made_of),
        started=started,
    )
    places.tell(tensorboard=root.tensorboard / run_id)
    runner = ReportingRunner(
        record,
        console.start,
        lambda entry: console.end(entry["id"], entry["state"], entry["seconds"], entry["detail"]),
        base=base,
    )
    with told_in_a_line(connection):
        try:
            status = _run_nodes(runner, record, create_pipeline(settings.config, dataset))
        except KeyboardInterrupt:
            # As the next run would.
            settle(connection, root, run_id)
            raise
        if settings.config.kept_runs is not None:
            clear_if_possible(root, console)
        record.note_disk(root.bytes_on_disk())
    report = write_report_if_possible(root, run_id, console)
    tell(record.content, folder, report, write_index_if_possible(root, console), console)
    console.result(state=record.content["state"], exit_status=status, summary=str(folder.summary))
    return status


def _run_nodes(runner, record, pipeline) -> int:
    """Runs the nodes, closes the record whatever happens, and returns the exit status."""
    status = None
    try:
        with disk_told():
            runner.run(pipeline)
        status = exit_status_of(record.content)
    except Exception as error:
        status = error.exit_status if isinstance(error, PipelineError) else 1
        raise
    finally:
        record.close(status)
    return status


def _first_line(run_id: str, settings: Settings, dataset) -> str:
    config = settings.config
    span = f" span {dataset.span.name}" if dataset.span else ""
    return f"run {run_id}: preset {config.preset}, seed {config.seed}, data {dataset.name}{span} in {dataset.folder}"


def _stands_on(base) -> str:
    return f", on run {base.run_id}" if base.run_id else ""
