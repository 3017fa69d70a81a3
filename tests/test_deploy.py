"""What lies in deploy/: each command is run against a real server, each file for a scheduler is read by its own tool.

Airflow, which does not install beside TFX, loads its DAGs in an environment of its own; what a task does with an exit
status is played with a stand-in for three of its names.
"""

import contextlib
import http.server
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import yaml

from local_runner import parse_arguments
from pipeline.config import PipelineConfig
from pipeline.nodes import NODES
from pipeline.output_root import OutputRoot
from pipeline.run.on_end import End
from scripts import setup_env
from tests.ended_runs import refusal, write_run

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
PLACE = "/srv/image-pipeline"


@pytest.fixture
def root(tmp_path: Path) -> OutputRoot:
    return OutputRoot(tmp_path / "output")


@pytest.fixture
def night(root) -> End:
    """A night with a refused span and a run that went well."""
    refused = refusal(root, "20261122-020000-000", span={"name": "12"})
    went_well = write_run(root, "20261122-020100-000", span={"name": "13"})
    return End(
        exit_status=0, state="done", output_root=root.path, summaries=(refused.summary, went_well.summary), message=""
    )


def call(command: str, end: End, **variables: str) -> subprocess.CompletedProcess:
    """Runs a command of deploy/ as the pipeline would, with nothing else in its environment."""
    environ = {"PATH": os.environ["PATH"], **end.variables(), **variables}
    return subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(DEPLOY)!r})\n{RUN}", command],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )


# As `python deploy/NAME.py`, but blind to PYTHONPATH and site of the caller.
RUN = "import runpy; runpy.run_path(sys.path[0] + '/' + sys.argv[1], run_name='__main__')"


@pytest.fixture
def webhook() -> Iterator[types.SimpleNamespace]:
    """A server that keeps what is posted and answers with `status`."""
    kept = types.SimpleNamespace(posts=[], status=200)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.posts.append((self.path, self.headers["Content-Type"], json.loads(body)))
            self.send_response(kept.status)
            if 300 <= kept.status < 400:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        kept.url = f"http://127.0.0.1:{server.server_port}/hooks/secret"
        yield kept
        server.shutdown()


def test_webhook_is_posted_the_essentials_of_each_run(night, webhook):
    done = call("webhook.py", night, WEBHOOK_URL=webhook.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    ((path, kind, told),) = webhook.posts
    assert (path, kind) == ("/hooks/secret", "application/json")
    assert told["title"] == "letters.smoke: done (exit status 0), accuracy 88.50 %"
    assert (told["state"], told["exit_status"], told["message"]) == ("done", 0, "")
    refused, went_well = told["runs"]
    assert (refused["state"], refused["span"], went_well["span"]) == ("data refused", "12", "13")
    assert "error: test: all examples: is wrong" in refused["refused_for"]
    assert went_well["examples"] == {"train": 4000, "val": 500, "test": 1000}
    assert went_well["report"].endswith("20261122-020100-000/report.html")
    assert "run 20261122-020000-000, span 12: data refused" in told["text"]


def test_webhook_is_told_of_a_process_without_a_run(root, webhook):
    end = End(exit_status=75, state="busy", output_root=root.path, message="another run is using it.")
    assert call("webhook.py", end, WEBHOOK_URL=webhook.url).returncode == 0
    ((_, _, told),) = webhook.posts
    assert (told["runs"], told["message"]) == ([], "another run is using it.")
    assert told["title"] == f"{root.path.resolve()}: busy (exit status 75)"


def test_run_whose_end_could_not_be_recorded_is_told_as_the_process_ended(root, webhook):
    run = write_run(root, "20261122-020000-000", state="running", exit_status=None)
    end = End(exit_status=75, state="busy", output_root=root.path, summaries=(run.summary,), message="no server.")
    assert call("webhook.py", end, WEBHOOK_URL=webhook.url).returncode == 0
    ((_, _, told),) = webhook.posts
    assert told["title"].startswith("letters.smoke: busy (exit status 75)") and told["runs"][0]["state"] == "busy"
    assert "run 20261122-020000-000: busy, " in told["text"]


def test_webhook_that_takes_nothing_is_a_line_without_its_address(night, webhook):
    webhook.status = 500
    refused = call("webhook.py", night, WEBHOOK_URL=webhook.url)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        absent = call("webhook.py", night, WEBHOOK_URL=f"http://127.0.0.1:{unused.getsockname()[1]}/hooks/secret")
    spaced = call("webhook.py", night, WEBHOOK_URL="http://127.0.0.1:1/hooks/a secret")
    bracketed = call("webhook.py", night, WEBHOOK_URL="http://[hooks/secret")
    for done, why in (
        (refused, "status 500"),
        (absent, "Connection refused"),
        (spaced, "InvalidURL"),
        (bracketed, "ValueError"),
    ):
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("webhook.py: the webhook did not take it (") and why in line
        assert "hooks" not in done.stderr and "secret" not in done.stderr
    other = call("webhook.py", night, WEBHOOK_URL="chat.example/hooks/secret")
    told = "webhook.py: WEBHOOK_URL: expected an address, found one without http:// or https://.\n"
    assert (other.returncode, other.stderr) == (2, told)


@pytest.mark.parametrize("command", ["webhook.py", "mail.py"])
def test_command_that_a_person_calls_says_that_the_pipeline_has_to(night, command):
    environ = {"PATH": os.environ["PATH"], "WEBHOOK_URL": "http://127.0.0.1:1/", "MAIL_TO": "a@example.org"}
    done = subprocess.run([sys.executable, DEPLOY / command], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    told = "PIPELINE_EXIT_STATUS: expected what --on-end tells, found nothing. Have the pipeline call this."
    assert done.stderr == f"{command}: {told}\n"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_webhook_that_is_elsewhere_took_nothing(night, webhook, status):
    """urllib would go there without the message, and be answered well."""
    webhook.status = status
    done = call("webhook.py", night, WEBHOOK_URL=webhook.url)
    assert (done.returncode, done.stderr) == (1, f"webhook.py: the webhook did not take it (status {status}).\n")


@pytest.mark.parametrize(("left", "told"), [("report.html", "report.html"), ("log.txt", "log.txt"), ("", None)])
def test_what_there_is_to_read_of_a_run_is_named(night, webhook, left, told):
    folder = night.summaries[-1].parent
    for path in folder.iterdir():
        if path != night.summaries[-1]:
            path.unlink()
    if left:
        (folder / left).write_text("")
    assert call("webhook.py", night, WEBHOOK_URL=webhook.url).returncode == 0
    ((_, _, posted),) = webhook.posts
    assert posted["runs"][-1]["report"] == (told and str(folder.resolve() / told))
    assert (str(folder.resolve()) in posted["text"]) == bool(told)


def test_port_that_is_none_is_refused_in_a_line(night):
    done = call("mail.py", night, MAIL_TO="a@example.org", MAIL_PORT="smtp")
    assert (done.returncode, done.stderr) == (2, "mail.py: MAIL_PORT: expected a number, found 'smtp'.\n")


@pytest.mark.parametrize(("command", "variable"), [("webhook.py", "WEBHOOK_URL"), ("mail.py", "MAIL_TO")])
def test_command_that_was_not_told_where_to_says_so(night, command, variable):
    done = call(command, night)
    assert (done.returncode, done.stderr) == (2, f"{command}: {variable}: expected an address, found none.\n")


@pytest.fixture
def mailbox() -> Iterator[types.SimpleNamespace]:
    """A real SMTP server, and the letters it took."""
    from aiosmtpd.controller import Controller

    letters = []

    class Handler:
        async def handle_DATA(self, server, session, envelope) -> str:
            letters.append(envelope)
            return "250 taken"

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(Handler(), hostname="127.0.0.1", port=port)
    controller.start()
    yield types.SimpleNamespace(letters=letters, settings={"MAIL_HOST": "127.0.0.1", "MAIL_PORT": str(port)})
    controller.stop()


def test_mail_says_what_happened_to_everybody_named(night, mailbox):
    done = call("mail.py", night, MAIL_TO="a@example.org, b@example.org", **mailbox.settings)
    assert (done.returncode, done.stderr) == (0, "")
    (envelope,) = mailbox.letters
    assert (envelope.mail_from, envelope.rcpt_tos) == ("a@example.org", ["a@example.org", "b@example.org"])
    message = message_from_bytes(envelope.content)
    assert message["Subject"] == "letters.smoke: done (exit status 0), accuracy 88.50 %"
    assert abs(parsedate_to_datetime(message["Date"]).timestamp() - time.time()) < 120
    assert re.fullmatch(r"<[^<>@\s]+@[^<>@\s]+>", message["Message-ID"])
    body = message.get_payload(decode=True).decode()
    assert "run 20261122-020000-000, span 12: data refused" in body
    assert "  error: test: all examples: is wrong" in body


def test_mail_comes_for_the_statuses_that_were_asked_for(night, mailbox):
    to = {"MAIL_TO": "a@example.org", **mailbox.settings}
    assert call("mail.py", night, MAIL_ON="2 3 4", **to).returncode == 0
    assert mailbox.letters == []
    for sent, asked in enumerate(("0 3", "0,3", "", " "), start=1):
        assert call("mail.py", night, MAIL_ON=asked, **to).returncode == 0
        assert len(mailbox.letters) == sent
    done = call("mail.py", night, MAIL_ON="failed", **to)
    told = "mail.py: MAIL_ON: expected exit statuses, such as 2 3 4, found 'failed'.\n"
    assert (done.returncode, done.stderr, len(mailbox.letters)) == (2, told, 4)


def test_password_is_sent_to_no_server_without_encryption(night, mailbox):
    done = call("mail.py", night, MAIL_TO="a@b.org", MAIL_USER="me", MAIL_PASSWORD="hush", **mailbox.settings)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "STARTTLS" in line and "hush" not in line
    assert mailbox.letters == []


def called_in(command: str) -> list[str]:
    """Returns the arguments behind local_runner.py or nightly.sh, each of which has to be one that there is."""
    words = subprocess.run(
        ["sh", "-c", f"set -- {command}\nfor word; do printf '%s\\0' \"$word\"; done"], capture_output=True, text=True
    ).stdout.split("\0")[:-1]
    (start,) = (n for n, word in enumerate(words) if word.endswith(("local_runner.py", "nightly.sh")))
    arguments = words[start + 1 :]
    parse_arguments(arguments)
    return arguments


def test_crontab_has_five_fields_and_a_command_that_the_pipeline_takes():
    lines = (DEPLOY / "crontab").read_text().splitlines()
    (line,) = [line for line in lines if re.match(r"[\d*]", line)]
    minute, hour, *every, command = line.split(maxsplit=5)
    assert (int(minute) < 60, int(hour) < 24, every) == (True, True, ["*", "*", "*"])
    assert "%" not in command, "cron takes it for the end of the line"
    ran = command.split("&& ")[-1].split(" >>")[0]
    assert called_in(ran) == ["--on-end", "python3 deploy/webhook.py"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here, whose own check this is")
def test_systemd_takes_service_and_timer(tmp_path):
    project = tmp_path / "project"
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (project / "docs").mkdir()
    for unit in ("image-pipeline.service", "image-pipeline.timer"):
        # Its own place, for the check looks for the program.
        (tmp_path / unit).write_text((DEPLOY / unit).read_text().replace(PLACE, str(project)))
    command = ["systemd-analyze", "verify", "--man=no"]
    units = [str(tmp_path / f"image-pipeline.{kind}") for kind in ("service", "timer")]
    done = subprocess.run([*command, *units], capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if "image-pipeline" in line]
    assert ours == []
    (tmp_path / "image-pipeline.service").write_text("[Service]\nType=oneshot\nRestartForceExitStatus=75\n")
    done = subprocess.run([*command, units[0]], capture_output=True, text=True)
    assert "image-pipeline" in done.stderr, "the check finds what is wrong"


def test_service_tries_again_when_busy_and_only_then_and_stops_without_having_failed():
    service = (DEPLOY / "image-pipeline.service").read_text()
    assert re.findall(r"^(Restart\w*)=(.*)$", service, re.MULTILINE) == [
        ("Restart", "no"),
        ("RestartForceExitStatus", "75"),
        ("RestartSec", "10min"),
    ]
    # Stopped is not failed: SIGHUP, SIGINT, SIGTERM.
    assert re.findall(r"^SuccessExitStatus=(.*)$", service, re.MULTILINE) == ["129 130 143"]
    (command,) = re.findall(r"^ExecStart=(.*)$", service, re.MULTILINE)
    assert called_in(command) == ["--config", "nightly.toml", "--on-end", "python3 deploy/webhook.py"]


def round_trip(document: dict, kind: str = "") -> dict:
    """Returns what is left of a manifest once it was read into the types of Kubernetes's API, as a client does."""
    from kubernetes import client

    api = client.ApiClient()
    read = api.deserialize(types.SimpleNamespace(data=json.dumps(document)), kind or f"V1{document['kind']}")
    return api.sanitize_for_serialization(read)


def test_kubernetes_takes_the_manifest_with_every_key_of_it():
    cron_job, claim = yaml.safe_load_all((DEPLOY / "cronjob.yaml").read_text())
    # The client that TFX admits (26) wants pod conditions in each of these rules, which the API does not.
    first, second = cron_job["spec"]["jobTemplate"]["spec"].pop("podFailurePolicy")["rules"]
    for document in (cron_job, claim):
        assert round_trip(document) == document
    assert round_trip(second, "V1PodFailurePolicyRule") == second
    exit_codes = first["onExitCodes"]
    assert round_trip(exit_codes, "V1PodFailurePolicyOnExitCodesRequirement") == exit_codes
    cron_job["spec"]["concurencyPolicy"] = "Forbid"
    assert round_trip(cron_job) != cron_job, "a key that there is none of is lost"
    del cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    with pytest.raises(ValueError, match="containers"):
        round_trip(cron_job)


def test_cron_job_runs_alone_and_tries_again_only_when_busy():
    cron_job, claim = yaml.safe_load_all((DEPLOY / "cronjob.yaml").read_text())
    job = cron_job["spec"]["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert (cron_job["spec"]["concurrencyPolicy"], pod["restartPolicy"]) == ("Forbid", "Never")
    rule, evicted = job["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [1, 2, 3, 4])
    assert (rule["onExitCodes"]["containerName"], evicted["action"]) == (container["name"], "Ignore")
    claims = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"]}
    assert claims["output"] == claim["metadata"]["name"]
    assert {mount["name"] for mount in container["volumeMounts"]} == set(claims)
    parsed = parse_arguments(container["args"])
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {str(parsed.data_dir), str(parsed.output_root)} == mounts


@pytest.fixture
def airflow_dag(monkeypatch) -> types.ModuleType:
    """The DAG's module, executed with a stand-in for the names of Airflow that it uses: not Airflow's own check."""

    class AirflowException(Exception):
        pass

    class AirflowFailException(AirflowException):
        pass

    class BashOperator:
        def __init__(self, **given) -> None:
            vars(self).update(given, after=None)
            tasks.append(self)

        def __rshift__(self, other) -> None:
            other.after = self

        def execute(self, context: int) -> str:
            # The text of the standard provider, 1.21.
            if context:
                raise AirflowException(f"Bash command failed. The command returned a non-zero exit code {context}.")
            return "done"

    tasks: list[BashOperator] = []
    stand_ins = {
        "airflow.sdk.exceptions": {"AirflowException": AirflowException, "AirflowFailException": AirflowFailException},
        "airflow.providers.standard.operators.bash": {"BashOperator": BashOperator},
        "airflow.sdk": {"DAG": lambda **given: contextlib.nullcontext(types.SimpleNamespace(**given))},
    }
    for name, content in stand_ins.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("airflow", "airflow.providers", "airflow.providers.standard", "airflow.providers.standard.operators"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    dag = types.ModuleType("airflow_dag")
    exec(compile((DEPLOY / "airflow_dag.py").read_text(), "airflow_dag.py", "exec"), vars(dag))
    dag.tasks = tasks
    return dag


@pytest.mark.parametrize(
    ("status", "again"), [(75, True), (2, False), (3, False), (4, False), (1, False), (175, False)]
)
def test_airflow_played_by_a_stand_in_tries_again_when_busy_and_only_then(airflow_dag, status, again):
    for task in airflow_dag.tasks:
        with pytest.raises(airflow_dag.AirflowException) as raised:
            task.execute(status)
        assert isinstance(raised.value, airflow_dag.AirflowFailException) is not again
        assert task.execute(0) == "done"


def test_airflow_calls_a_command_that_the_pipeline_takes(airflow_dag):
    task, *of_nodes = airflow_dag.tasks
    assert called_in(task.bash_command) == ["--on-end", "python3 deploy/webhook.py"]
    assert {task.cwd for task in airflow_dag.tasks} == {PLACE}
    for dag in (airflow_dag.dag, airflow_dag.dag_of_nodes):
        assert (dag.max_active_runs, dag.catchup) == (1, False)
    for task in of_nodes:
        parsed = parse_arguments(called_in(task.bash_command))
        assert (parsed.only_node, parsed.output_root) == (task.task_id, Path("output-nodes"))
        assert parsed.set == [f"kept_runs={10 * len(of_nodes)}"]


def test_airflow_has_a_task_for_each_node_one_after_the_other(airflow_dag):
    _, *of_nodes = airflow_dag.tasks
    asked = [node.id for node in NODES.values() if node.asked(PipelineConfig())]
    assert [task.task_id for task in of_nodes] == asked
    assert [task.after for task in of_nodes] == [None, *of_nodes[:-1]]


@pytest.mark.slow
def test_airflow_itself_loads_the_dags(airflow_python, tmp_path):
    told = (
        "import json, sys; from airflow.dag_processing.dagbag import DagBag; bag = DagBag(sys.argv[1]); "
        "print(json.dumps([bag.import_errors, {name: [[task.task_id, sorted(task.downstream_task_ids)] for task in "
        "dag.topological_sort()] for name, dag in bag.dags.items()}]))"
    )

    def loaded(folder: Path) -> tuple[dict, dict]:
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AIRFLOW_HOME": str(tmp_path / "home")}
        environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
        command = [airflow_python, "-c", told, folder]
        done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    dags = tmp_path / "dags"
    dags.mkdir()
    shutil.copy(DEPLOY / "airflow_dag.py", dags)
    errors, found = loaded(dags)
    nodes = [node.id for node in NODES.values() if node.asked(PipelineConfig())]
    assert (errors, set(found)) == ({}, {"image_pipeline", "image_pipeline_nodes"})
    assert found["image_pipeline_nodes"] == [
        [node, [follower] if follower else []] for node, follower in zip(nodes, [*nodes[1:], None], strict=True)
    ]
    (dags / "airflow_dag.py").write_text((DEPLOY / "airflow_dag.py").read_text().replace("catchup=", "catch_up="))
    errors, found = loaded(dags)
    assert "catch_up" in "".join(errors.values()) and found == {}, "it finds what is wrong"


def test_image_is_made_of_what_there_is_and_run_by_a_user_of_its_own():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    build, final = (stage.splitlines() for stage in "\n".join(lines).split("\nFROM ")[1:])
    assert build[0].split()[0] == final[0] and ":" in final[0], "the environment moves between equal images"
    copied = {word for line in build if line.startswith("COPY") for word in line.split()[1:-1]}
    for path in copied:
        assert (ROOT / path).exists() and path.split("/")[0] in allowed, path
    # What decides the environment is there when it is made, or it would be made anew later.
    assert all(any(name == path or name.startswith(f"{path}/") for path in copied) for name in setup_env.INPUTS)
    for name in ("components", "models", "pipeline", "schema", "local_runner.py", "kubeflow_runner.py"):
        assert name in allowed
    assert not allowed & {"data", "output", ".venv", ".git", "tests", "docs"}
    user = [line for line in final if line.startswith("USER")]
    assert user == ["USER 1000"] and "useradd --uid 1000" in "\n".join(final)
    (command,) = [line for line in final if line.startswith("CMD")]
    python, program, *arguments = json.loads(command.removeprefix("CMD "))
    parsed = parse_arguments(arguments)
    assert (python, program) == ("python", "local_runner.py")
    assert (parsed.data_dir, parsed.output_root) == (Path("/data"), Path("/output"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose pipeline ends with the statuses in `plan`, one a call, and notes its arguments."""
    program = tmp_path / "my project" / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(
        '#!/bin/sh\necho "$@" >> calls\nset -- $(cat plan)\nstatus=$1; shift; echo "$@" > plan\n'
        "[ \"$status\" != wait ] || { trap 'exit 143' TERM; touch waits; sleep 30 & wait; }\nexit $status\n"
    )
    program.chmod(0o755)
    folder = program.parents[2]
    (folder / "deploy").mkdir()
    shutil.copy(DEPLOY / "nightly.sh", folder / "deploy")
    return folder


@pytest.mark.parametrize(
    ("plan", "status", "calls"), [("0", 0, 1), ("75 75 0", 0, 3), ("75 3", 3, 2), ("4 0", 4, 1), ("75 75 75 0", 75, 3)]
)
def test_nightly_tries_again_while_busy_and_ends_with_the_last_status(project, plan, status, calls):
    (project / "plan").write_text(plan)
    environ = {"PATH": os.environ["PATH"], "PIPELINE_PAUSE": "0", "PIPELINE_TRIES": "3"}
    done = subprocess.run([project / "deploy" / "nightly.sh", "--preset", "smoke"], env=environ, cwd="/")
    assert done.returncode == status
    assert (project / "calls").read_text() == "local_runner.py --preset smoke\n" * calls


def test_nightly_hands_a_sigterm_to_the_run_and_waits_for_it(project, heard):
    (project / "plan").write_text("wait 0")
    process = subprocess.Popen([project / "deploy" / "nightly.sh"], stderr=subprocess.DEVNULL)
    while not (project / "waits").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 143


@pytest.fixture(scope="module")
def mlflow_python(tmp_path_factory) -> Path:
    return python_of("mlflow", tmp_path_factory)


@pytest.fixture(scope="module")
def airflow_python(tmp_path_factory) -> Path:
    return python_of("airflow", tmp_path_factory)


def python_of(name: str, tmp_path_factory) -> Path:
    """Returns the Python of an environment with what deploy/NAME.lock has, from the package index."""
    environment = tmp_path_factory.mktemp(name) / "env"
    uv = Path(sys.executable).with_name("uv")
    python = environment / "bin" / "python"
    commands = (
        [uv, "venv", "--quiet", "--no-project", "--python", sys.executable, environment],
        [uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", DEPLOY / f"{name}.lock"],
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, cwd=environment.parent)
        if done.returncode and "CI" not in os.environ:
            pytest.skip(f"{name} cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
    return python


@pytest.mark.slow
def test_mlflow_has_settings_figures_epochs_tags_and_report_and_each_run_once(night, root, mlflow_python, tmp_path):
    store = tmp_path / "mlflow.db"
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "MLFLOW_TRACKING_URI": f"sqlite:///{store}",
        "MLFLOW_ARTIFACT_ROOT": str(tmp_path / "artifacts"),
        **night.variables(),
    }

    def export() -> list[str]:
        command = [mlflow_python, DEPLOY / "mlflow_export.py"]
        done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return [line.split(": ")[1] for line in done.stdout.splitlines()]

    assert export() == ["exported", "exported"]

    def asked(question: str) -> list[tuple]:
        with contextlib.closing(sqlite3.connect(store)) as database:
            return database.execute(question).fetchall()

    runs = dict(asked("select name, run_uuid from runs where lifecycle_stage = 'active'"))
    assert set(runs) == {"20261122-020000-000", "20261122-020100-000"}
    went_well = runs["20261122-020100-000"]
    of = f"where run_uuid = '{went_well}'"
    params = dict(asked(f"select key, value from params {of}"))
    assert params == {"seed": "42", "training.epochs": "2", "floors.accuracy/class/Bag": "0.3"}
    metrics = {(key, step): value for key, step, value in asked(f"select key, step, value from metrics {of}")}
    assert metrics["test_accuracy", 0] == 0.885
    assert (metrics["epoch/val_accuracy", 1], metrics["epoch/val_accuracy", 2]) == pytest.approx((0.81, 0.82))
    assert metrics["seconds/Trainer", 0] == 2.5
    tags = dict(asked(f"select key, value from tags {of}"))
    for key, value in {
        "image_pipeline.run_id": "20261122-020100-000",
        "mlflow.source.git.commit": "97a448a",
        "span": "13",
        "blessed": "True",
        "state": "done",
    }.items():
        assert tags[key] == value
    ((status, folder),) = asked(f"select status, artifact_uri from runs {of}")
    assert status == "FINISHED"
    assert {path.name for path in Path(folder.removeprefix("file://")).iterdir()} == {"report.html", "summary.json"}
    before = asked("select count(*) from metrics"), asked("select count(*) from runs")

    assert export() == ["exported before", "exported before"]
    assert (asked("select count(*) from metrics"), asked("select count(*) from runs")) == before

    # One that cannot be exported holds up no other, whatever the names of its classes.
    refused = write_run(root, "20261121-020000-000", published_as=None)
    floors = {"accuracy@class=C++ (old) & 'new', 50 %": 0.5, "accuracy@class=a//b/": 0.6}
    named = write_run(root, "20261123-020000-000", provenance={"settings": {"floors": floors}})
    command = [mlflow_python, DEPLOY / "mlflow_export.py", refused.summary, named.summary]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (1, "20261123-020000-000: exported\n")
    told = f"mlflow_export.py: {refused.summary}: not exported ("
    assert [line.startswith(told) for line in done.stderr.splitlines() if "mlflow_export.py" in line] == [True]
    assert dict(asked("select key, value from params where key like '%class%'")) == {
        "floors.accuracy/class/Bag": "0.3",
        "floors.accuracy/class/C__ _old_ _ _new__ 50 _": "0.5",
        "floors.accuracy/class/a/b": "0.6",
    }
    with contextlib.closing(sqlite3.connect(store)) as database:
        database.execute("update runs set lifecycle_stage = 'deleted' where name = '20261123-020000-000'")
        database.commit()

    # As a kill in the middle of an export leaves it.
    with contextlib.closing(sqlite3.connect(store)) as database:
        database.execute(f"delete from tags {of} and key = 'image_pipeline.exported'")
        database.commit()
    assert export() == ["exported before", "exported"]
    active = asked("select name from runs where lifecycle_stage = 'active' order by name")
    assert active == [("20261122-020000-000",), ("20261122-020100-000",)]
