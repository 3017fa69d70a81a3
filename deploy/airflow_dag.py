"""Airflow DAGs that run the pipeline; put this file, or a link to it, into the folder of DAGs.

`image_pipeline` is one task a night. `image_pipeline_nodes` is the same with one task a node, to be retried and looked
at one by one: give it the schedule in the place of the other's, an output root of its own, and some seconds more for
each start. Airflow has an environment of its own and only calls the command; 3.3 has loaded and run both, the second
with a stand-in for the pipeline. A busy output root (75) is tried again; bad input (2), refused data (3), a model that
was not blessed (4) and the rest are failures at once, for trying again changes nothing.
"""

import datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException

PROJECT = "/srv/image-pipeline"
BUSY = 75
# As pipeline/nodes.py has them, by default; one after the other, for an output root has one writer.
NODES = (
    "ExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "AcceptedData",
    "DataGate",
    "Transform",
    "Trainer",
    "Exporter",
    "BlessedModel",
    "InfraValidator",
    "BulkInferrer",
    "Evaluator",
    "Pusher",
)


class RunPipeline(BashOperator):
    """Runs a command, and fails for good unless it ended with `BUSY`."""

    def execute(self, context):
        """Raises AirflowException where another attempt may help, AirflowFailException where not."""
        try:
            return super().execute(context)
        except AirflowException as error:
            # Only its text has the exit code.
            if str(error).endswith(f" {BUSY}."):
                raise
            raise AirflowFailException(str(error)) from error


with DAG(
    dag_id="image_pipeline",
    schedule="30 2 * * *",
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    catchup=False,
    # An output root has one writer.
    max_active_runs=1,
    dagrun_timeout=datetime.timedelta(hours=8),
) as dag:
    RunPipeline(
        task_id="run",
        bash_command="exec .venv/bin/python local_runner.py --on-end 'python3 deploy/webhook.py'",
        cwd=PROJECT,
        retries=4,
        retry_delay=datetime.timedelta(minutes=10),
    )

with DAG(
    dag_id="image_pipeline_nodes",
    schedule=None,
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=datetime.timedelta(hours=8),
) as dag_of_nodes:
    before = None
    for node in NODES:
        task = RunPipeline(
            task_id=node,
            # Each task is a run in the eyes of kept_runs.
            bash_command=(
                f"exec .venv/bin/python local_runner.py --only {node} --output-root output-nodes "
                f"--set kept_runs={10 * len(NODES)} "
                "--on-end 'test $PIPELINE_EXIT_STATUS = 0 || python3 deploy/webhook.py'"
            ),
            cwd=PROJECT,
            retries=4,
            retry_delay=datetime.timedelta(minutes=10),
        )
        if before is not None:
            before >> task
        before = task
