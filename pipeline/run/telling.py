"""What is told when a run has ended: what was cleared behind it, its report and, from its record, figures, verdict, and
what became of the push.
"""

import logging
import time
from pathlib import Path

from components.errors import PipelineError, first_line
from components.evaluator.metrics import METRICS
from components.pusher.outcomes import HELD_BACK, PUSHED, SERVED_AGAIN, TAKEN_BACK
from pipeline.metadata.garbage import clear, summed
from pipeline.output_root import OutputRoot, RunFolder
from pipeline.run.console import Console
from pipeline.run.outcome import NODE_RAN


def clear_if_possible(root: OutputRoot, console: Console) -> None:
    """Deletes what no run that stays needs, and tells how much that was; a run that has done its work fails not for it.

    The caller holds the lock of the output root. Folders that ML Metadata never heard of stay, for `gc` to delete.
    """
    console.start("retention")
    started = time.monotonic()
    try:
        plan = clear(root, unknown=False)
    except Exception as error:
        logging.exception("what is superseded could not be deleted")
        console.error(f"retention: {first_line(error)}")
        return
    if plan["items"]:
        console.end("retention", "", time.monotonic() - started, f"{summed(plan)} of superseded runs deleted")


def write_report_if_possible(root: OutputRoot, run_id: str, console: Console) -> Path | None:
    """Writes report.html and returns its path; a run that has done its work does not fail for it."""
    console.start("report")
    try:
        from pipeline.report.render import write_report

        return write_report(root, run_id)
    except Exception as error:
        logging.exception("the report could not be written")
        console.error(f"no report: {_named(error)}")
        return None


def _named(error: Exception) -> str:
    """Returns an error's line; of one that is a bug, or nobody's, its kind as well."""
    return first_line(error) if isinstance(error, PipelineError) else f"{type(error).__name__}: {first_line(error)}"


def write_index_if_possible(root: OutputRoot, console: Console) -> Path | None:
    """Writes the page of all runs and returns its path; no run fails for it."""
    console.start("index")
    try:
        from pipeline.report.index_page import write_index

        return write_index(root)
    except Exception as error:
        logging.exception("the page of all runs could not be written")
        console.error(f"no page of all runs: {_named(error)}")
        return None


def tell(content: dict, folder: RunFolder, report: Path | None, index: Path | None, console: Console) -> None:
    """Tells what came of the run, from its record."""
    if failure := content["failure"]:
        console.error(f"{failure['node']} failed: {failure['message']}")
        console.error(f"log: {folder.log}")
    else:
        console.line("")
        if metrics := content["metrics"]:
            values = [(metric.label, metric.shown(metrics)) for metric in METRICS.values() if metric.headline]
            told = [f"{label} {value:.4f}" for label, value in values if value is not None]
            for start in range(0, len(told), 2):
                console.line("   ".join(told[start : start + 2]))
            word, verdict = content["verdict"].split(": ", 1)
            console.line(f"{word:<15}{verdict}")
        if told := _publication(content):
            console.line(told)
        if content["tensorboard"]:
            console.line(f"TensorBoard    {content['tensorboard']}")
        console.line(f"summary        {folder.summary} ({content['wall_seconds']:.0f} s)")
    if report:
        console.line(f"report         {report}")
    if index:
        console.line(f"all runs       {index}")


def _publication(content: dict) -> str:
    """Returns what a person should know of the push, "" where there is nothing to tell."""
    pushed, served = content["pushed_model"], content["served_model"]
    publish = f"'python -m pipeline.publish {content['run_id']}' publishes it"
    if content["push"] == HELD_BACK:
        return f"not pushed     held back; {publish}"
    if pushed is None:
        return ""
    if content["push"] == TAKEN_BACK:
        return f"not served     {pushed} was taken back, {served} is served; {publish} again"
    if served != pushed:
        return f"not served     {pushed}; {served} is served"
    (pusher,) = [node for node in content["nodes"] if node["id"] == "Pusher"]
    is_new = pusher["state"] == NODE_RAN and content["push"] in (PUSHED, SERVED_AGAIN)
    return f"{'pushed to' if is_new else 'served as':<15}{pushed}"
