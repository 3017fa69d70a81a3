"""Runs the pipeline once: locks the output root, runs the DAG, writes the summary and tells the result.

Synopsis:

    status = run_pipeline(preset("fast"), root=Path("."))     # 0, 1, 2, 3 or 4, as README.md says
"""

import datetime
import fcntl
import gc
import logging
import re
import tempfile
import time
import traceback
from pathlib import Path

from components.dataset import inspect_dataset
from components.errors import InputError, PipelineError
from pipeline.config import PipelineConfig
from pipeline.console import Console
from pipeline.locate_data import candidates, locate_data
from pipeline.nodes import Selection

NOT_BLESSED = 4


def run_pipeline(config: PipelineConfig, root: Path, selection: Selection | None = None) -> int:
    """Runs the DAG and returns the exit status.

    Args:
      config: the settings.
      root: the project's folder; `data/` is looked for there.
      selection: the part of the DAG to run; the whole of it by default.

    Raises:
      InputError: data or output root cannot be used; nothing was run.
    """
    started = time.monotonic()
    folder = locate_data(config.data_dir, candidates(root, Path.home()))
    dataset = inspect_dataset(folder)
    run_id = f"{datetime.datetime.now():%Y%m%d-%H%M%S-%f}"[:-3]
    try:
        run_dir = config.runs_dir / run_id
        run_dir.mkdir(parents=True)
        lock = (config.output_root / ".lock").open("w")
    except OSError as error:
        raise InputError(
            f"{config.output_root}: cannot be written ({error.strerror}). Choose another --output-root."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            run_dir.rmdir()
            raise InputError(
                f"{config.output_root}: another run is using it. Wait for it, or choose another --output-root."
            ) from None
        with Console(run_dir / "log.txt") as console:
            console.line(f"run {run_id}: preset {config.preset}, seed {config.seed}, data {folder}")
            return _run(config, dataset, root, selection, run_id, run_dir, console, started)


def tell_plan(config: PipelineConfig, root: Path, selection: Selection | None = None) -> int:
    """Prints what a run would do, node by node, and why; changes nothing. Returns the exit status 0.

    Raises:
      InputError: data or database cannot be used.
    """
    dataset = inspect_dataset(locate_data(config.data_dir, candidates(root, Path.home())))
    with tempfile.TemporaryDirectory() as folder, Console(Path(folder, "log.txt")) as console:
        console.start("imports")
        from pipeline.dry_run import foresee
        from pipeline.provenance import collect

        properties = {"preset": config.preset, "seed": config.seed, **collect(config, dataset, root)}
        for forecast in foresee(config, dataset, properties, selection):
            console.line(f"{forecast.id:<20} {forecast.state:<9}  {forecast.reason}")
    return 0


def _run(config, dataset, root: Path, selection, run_id: str, run_dir: Path, console: Console, started: float) -> int:
    console.start("imports")
    # TensorFlow and TFX take seconds to import, and --help or a wrong path must not wait for them. What they make stays
    # for good: without collecting garbage among it, importing takes a sixth less.
    gc.disable()
    from pipeline.pipeline import create_pipeline
    from pipeline.provenance import collect
    from pipeline.runner import ReportingRunner
    from pipeline.summary import Outputs, summarize, write_summary

    gc.freeze()
    gc.enable()
    console.line(f"{'imports':<20} {'':<7} {time.monotonic() - started:7.1f} s")
    provenance = collect(config, dataset, root)
    runner = ReportingRunner(
        run_id,
        console.start,
        lambda result: console.end(result.id, result.state, result.seconds, result.detail),
        properties={"preset": config.preset, "seed": config.seed, **provenance},
        selection=selection,
    )
    status, summary = None, {}
    try:
        runner.run(create_pipeline(config, dataset))
        outputs = Outputs(config.metadata_path, runner.results)
        summary = summarize(config, run_id, time.monotonic() - started, runner.results, outputs, provenance)
        failed = next((result for result in runner.results if result.state == "failed"), None)
        summary["failure"] = {"node": failed.id, "message": describe_failure(failed.error)[0]} if failed else None
        write_summary(run_dir / "summary.json", summary)
        report = write_report_if_possible(config.output_root, run_id, console)
        status = _tell_failure(failed, run_dir, console) if failed else _tell_result(summary, run_dir, console)
        if report:
            console.line(f"report         {report}")
    except Exception as error:
        status = error.exit_status if isinstance(error, PipelineError) else 1
        raise
    finally:
        runner.close(status, {**outcome(summary), "wall_seconds": time.monotonic() - started})
    return status


def write_report_if_possible(output_root: Path, run_id: str, console: Console) -> Path | None:
    """Writes report.html and returns its path; a run that has done its work does not fail for it."""
    console.start("report")
    try:
        from pipeline.report.render import write_report

        return write_report(output_root, run_id)
    except Exception as error:
        logging.exception("the report could not be written")
        console.line(f"no report: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        return None


def outcome(summary: dict) -> dict:
    """Returns what of a summary is kept in ML Metadata with the run, so that a list of runs opens no other file."""
    metrics = summary.get("metrics") or {}
    return {
        "test_accuracy": metrics.get("test_accuracy"),
        "test_loss": metrics.get("test_loss"),
        "blessed": summary.get("blessed"),
        "pushed_model": summary.get("pushed_model"),
        "nodes": summary.get("nodes"),
        "failure": summary.get("failure"),
    }


def describe_failure(error: BaseException) -> tuple[str, int]:
    """Returns what to tell of a node's failure, and the exit status."""
    if isinstance(error, PipelineError):
        # Beam names its step behind the message of what a worker raised.
        return re.sub(r" \[while running '[^']*'\]$", "", str(error)), error.exit_status
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    # What Keras and AutoGraph raise begins with a traceback of its own.
    text = lines[-1] if lines[0] == "in user code:" else lines[0]
    return f"{type(error).__name__}: {text}", 1


def _tell_failure(failed, run_dir: Path, console: Console) -> int:
    traceback.print_exception(failed.error)
    message, status = describe_failure(failed.error)
    console.line(f"{failed.id} failed: {message}")
    console.line(f"log: {run_dir / 'log.txt'}")
    return status


def _tell_result(summary: dict, run_dir: Path, console: Console) -> int:
    metrics = summary["metrics"]
    console.line("")
    if metrics:
        console.line(f"test accuracy  {metrics['test_accuracy']:.4f}   loss {metrics['test_loss']:.4f}")
        console.line(f"macro F1       {metrics['macro_f1']:.4f}   top 2 {metrics['top_2_accuracy']:.4f}")
        word, verdict = summary["verdict"].split(": ", 1)
        console.line(f"{word:<15}{verdict}")
    if summary["pushed_model"]:
        console.line(f"pushed to      {summary['pushed_model']}")
    if summary["tensorboard"]:
        console.line(f"TensorBoard    {summary['tensorboard']}")
    console.line(f"summary        {run_dir / 'summary.json'} ({summary['wall_seconds']:.0f} s)")
    return exit_status(summary)


def exit_status(summary: dict) -> int:
    """Returns the exit status of a run in which no node failed.

    Part of the DAG may hold no Evaluator; then the status is 4 only when the Pusher was to push and the model was not
    blessed by the earlier run.
    """
    states = {node["id"]: node["state"] for node in summary["nodes"]}
    refused = summary["blessed"] is False
    unpushed = states.get("Pusher") in ("ran", "cached") and summary["pushed_model"] is None
    return NOT_BLESSED if refused or unpushed else 0
