"""Every synopsis is run: what the docstring of a module shows is what the module does.

A synopsis is the indented block after the line "Synopsis:" of a module's docstring. Its names are what it defines, what
its module has, what `ELSEWHERE` says, and else a noun of `tests/synopsis_nouns.py`. Where a comment behind an
expression begins with a literal, that is its value: `...` stands for anything more in a sequence, "..." for any text.
Lines that begin with `make` or `python` are for a shell.
"""

import ast
import builtins
import contextlib
import functools
import importlib
import inspect
import io
import re
import shlex
import subprocess
import sys
import textwrap
import tokenize
from pathlib import Path

import pytest

from components import places
from components.evaluator.metrics import METRICS
from components.evaluator.slices import SLICINGS
from models.augment import AUGMENTATIONS
from models.networks import NETWORKS
from pipeline.run.code_digest import ROOT
from tests.synopsis_nouns import Once, nouns

FOLDERS = ("benchmarks", "components", "models", "pipeline", "scripts", "tests")
# Names that a synopsis may use though its module has them not, by where they come from.
ELSEWHERE = {
    "Channel": "tfx.types",
    "Model": "tfx.types.standard_artifacts",
    "ModelBlessing": "tfx.types.standard_artifacts",
    "Path": "pathlib",
    "PushedModel": "tfx.types.standard_artifacts",
    "Resolver": "tfx.dsl.components.common.resolver",
    "RowReader": "models.row_reader",
    "SLICINGS": "components.evaluator.slices",
    "eval_config": "components.evaluator.eval_config",
    "inspect_dataset": "components.example_gen.dataset",
    "keras": "keras",
    "np": "numpy",
    "os": "os",
    "pandas": "pandas",
    "places": "components.places",
    "preset": "pipeline.presets",
    "read_card": "models.card",
    "replace": "dataclasses",
    "standard_artifacts": "tfx.types",
}
# What lies in the working directory of a synopsis that names it by a relative path.
AROUND = {
    "components.example_gen.dataset": ("data",),
    "pipeline.client": ("output",),
    "pipeline.metadata.connection": ("recorded",),
    "pipeline.metadata.garbage": ("recorded",),
    "pipeline.metadata.labels": ("recorded",),
    "pipeline.metadata.retention": ("recorded",),
    "pipeline.metadata.runs": ("recorded",),
    "pipeline.metadata.store": ("recorded",),
    "pipeline.report.collect": ("output",),
    "pipeline.report.index": ("recorded",),
    "pipeline.report.index_page": ("recorded",),
    "pipeline.report.render": ("output",),
    "pipeline.run.run": ("data", "output"),
    "pipeline.sweep.trainings": ("data", "output"),
}
# Not run, only compared with the signatures of what it calls.
NOT_RUN = {
    "pipeline.metadata.excerpt": "it reads from a server; tests/test_shared_store.py has one",
    "scripts.host_apt": "it downloads from the host's apt mirror",
}
# They wait for a smoke run, TFMA, a training or a process of its own.
SLOW = {
    *(module for module, around in AROUND.items() if "output" in around),
    *(f"components.evaluator.{name}" for name in ("evaluation", "results", "verdict")),
    "components.infra_validator.serving",
    "models.recipe",
    "models.trials",
    "pipeline.sweep.trainings",
}
SHELL = re.compile(r"^(?:make|python\S*) .*$", re.MULTILINE)
REGISTRIES = (METRICS, SLICINGS, AUGMENTATIONS, NETWORKS, places._datasets, places._folders, places._memory)


def synopsis_in(docstring: str) -> str | None:
    """Returns the block after the line "Synopsis:"."""
    _, found, rest = f"\n{docstring}".partition("\nSynopsis:\n")
    block = re.match(r"(?:[ \t].*\n|\n)*", f"{rest}\n").group()
    return textwrap.dedent(block).strip() if found else None


@functools.cache
def sources() -> dict[str, str]:
    """Returns the source of each module."""
    paths = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text(encoding="utf-8") for path in paths}


@functools.cache
def synopses() -> dict[str, str]:
    """Returns the synopsis of each module that has one."""
    found = {module: synopsis_in(ast.get_docstring(ast.parse(source)) or "") for module, source in sources().items()}
    return {module: synopsis for module, synopsis in found.items() if synopsis is not None}


class Namespace(dict):
    """The names of a synopsis, made when they are asked for."""

    def __init__(self, module: str, given: dict) -> None:
        super().__init__(__name__=module)
        self._module, self._given = module, given
        self._own = vars(importlib.import_module(module))

    def __missing__(self, name: str) -> object:
        if make := self._given.get(f"{self._module}.{name}"):
            self[name] = make()
        elif name in self._own and not name.startswith("_"):
            self[name] = self._own[name]
        elif name in ELSEWHERE:
            self[name] = imported(ELSEWHERE[name], name)
        elif make := self._given.get(name):
            self[name] = make()
        elif name in vars(builtins):
            raise KeyError(name)
        else:
            raise NameError(
                f"{self._module}: its synopsis uses {name!r}, which it does not define and the module has not. Import "
                "it in the synopsis, or add it to ELSEWHERE here or to tests/synopsis_nouns.py."
            )
        return self[name]


def imported(home: str, name: str) -> object:
    module = importlib.import_module(home)
    return getattr(module, name, module)


def literal_in(comment: str) -> list:
    """Returns in a list the longest literal that a comment begins with, [] where it begins with none."""
    for end in range(len(comment), 0, -1):
        if comment[end : end + 1] in ("", " ", ",", ";", ":"):
            with contextlib.suppress(ValueError, SyntaxError):
                return [ast.literal_eval(comment[:end].strip(" ,;:"))]
    return []


def agrees(value: object, told: object) -> bool:
    """Whether a value is what a literal says."""
    if isinstance(told, str) and isinstance(value, str):
        # However narrow a space is.
        parts = [re.escape(part) for part in " ".join(told.split()).split("...")]
        return re.fullmatch(".*".join(parts), " ".join(value.split()), re.DOTALL) is not None
    if isinstance(told, dict) and isinstance(value, dict):
        return value.keys() == told.keys() and all(agrees(value[key], told[key]) for key in told)
    if isinstance(told, list | tuple) and isinstance(value, list | tuple):
        if told and told[-1] is ...:
            told, value = told[:-1], value[: len(told) - 1]
        return len(value) == len(told) and all(map(agrees, value, told))
    return value == (pytest.approx(told) if isinstance(told, float) else told)


def noted(statement: ast.stmt) -> set[tuple[int, int]]:
    """Has each statement of its bodies first tell that it is reached, and returns their places: line and column."""
    found = set()
    for node in list(ast.walk(statement)):
        if isinstance(body := getattr(node, "body", None), list):
            at = [(inner.lineno, inner.col_offset) for inner in body]
            found.update(at)
            tell = [ast.parse(f"_reached({place})").body[0] for place in at]
            node.body = [part for pair in zip(tell, body, strict=True) for part in pair]
    return found


def execute(module: str, synopsis: str, given: dict) -> None:
    """Runs the Python of a synopsis, and compares the values that it tells with what comes of it.

    Each line has to be reached: a loop over nothing would hide what is wrong in it.

    Args:
      module: its module.
      synopsis: what to run.
      given: by name, what makes the things that it supposes.
    """
    lines = ["" if SHELL.match(line) else line for line in synopsis.splitlines()]
    source, names = "\n".join(lines) + "\n", Namespace(module, given)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    bodies, reached = set(), set()
    names["_reached"] = reached.add
    for statement in ast.parse(source).body:
        if not isinstance(statement, ast.Expr):
            bodies |= noted(statement)
            exec(compile(ast.Module([statement], []), f"synopsis of {module}", "exec"), names)
            continue
        value = eval(compile(ast.Expression(statement.value), f"synopsis of {module}", "eval"), names)
        for told in literal_in(comments.get(statement.end_lineno, "")):
            assert agrees(value, told), (
                f"{module}: {ast.unparse(statement)} gives {value!r}, its synopsis tells {told!r}"
            )
    missed = sorted(line for line, _ in bodies - reached)
    assert not missed, f"{module}: lines {missed} of its synopsis are never reached"


@pytest.fixture(scope="module")
def once(request, tmp_path_factory) -> Once:
    return Once(tmp_path_factory.mktemp("once"), request.getfixturevalue)


@pytest.fixture
def given(once, tmp_path) -> dict:
    folder = tmp_path / "given"
    folder.mkdir()
    return nouns(folder, once)


@pytest.fixture
def registries_as_before():
    """What a synopsis registers is gone after it."""
    before = [dict(registry) for registry in REGISTRIES]
    yield
    for registry, content in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(content)


def marked(module: str):
    return pytest.param(module, marks=pytest.mark.slow if module in SLOW else ())


# Keras warns that it cannot shuffle a data set, which is shuffled already.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")
@pytest.mark.usefixtures("registries_as_before")
@pytest.mark.parametrize("module", [marked(module) for module in synopses() if module not in NOT_RUN])
def test_synopsis_runs_and_gives_what_it_tells(module, once, given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in AROUND.get(module, ()):
        Path("output" if name == "recorded" else name).symlink_to(getattr(once, name))
    execute(module, synopses()[module], given)


@pytest.mark.parametrize("module", NOT_RUN)
def test_synopsis_that_is_not_run_fits_the_signatures_of_its_module(module):
    own = vars(importlib.import_module(module))
    calls = [node for node in ast.walk(ast.parse(synopses()[module])) if isinstance(node, ast.Call)]
    for call in calls:
        function = own.get(call.func.id) or imported(ELSEWHERE[call.func.id], call.func.id)
        inspect.signature(function).bind(*call.args, **{keyword.arg: keyword.value for keyword in call.keywords})
    assert calls


@pytest.mark.parametrize("line", [line for synopsis in synopses().values() for line in SHELL.findall(synopsis)])
def test_shell_line_of_a_synopsis_is_a_command_that_exists(line):
    command, *arguments = shlex.split(line, comments=True)
    if command == "make":
        subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, check=True, capture_output=True)
        return
    assert arguments[0] == "-m"
    help_of = [sys.executable, "-m", arguments[1], "--help"]
    told = subprocess.run(help_of, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert [flag for flag in arguments[2:] if flag.startswith("--") and flag not in told] == []


def test_no_synopsis_is_empty_or_stands_where_it_is_not_looked_for():
    headed = {module for module, source in sources().items() if re.search(r"^ *Synopsis\b", source, re.MULTILINE)}
    assert headed == {module for module, synopsis in synopses().items() if synopsis}


def test_every_exception_names_a_module_with_a_synopsis():
    assert {*AROUND, *NOT_RUN, *SLOW} <= set(synopses())


def test_name_that_nobody_has_is_told_with_its_module():
    with pytest.raises(NameError, match=r"^pipeline\.report\.formats: its synopsis uses 'ratio', which"):
        execute("pipeline.report.formats", "percent(ratio)", {})


def test_argument_that_does_not_exist_fails():
    with pytest.raises(TypeError, match="places"):
        execute("pipeline.report.formats", "percent(0.5, places=2)", {})


def test_line_that_is_never_reached_fails():
    with pytest.raises(AssertionError, match=r"lines \[2\] of its synopsis are never reached"):
        execute("pipeline.report.formats", "for value in []:\n    percent(value, places=2)", {})


@pytest.mark.parametrize(
    "line",
    [
        'percent(0.9262)      # "92.7 %"',
        "[1, 2, 3]   # [1, 3, ...]",
        "1, 2   # 1, 2, 3",
        "{1: 2}   # {1: 3}",
        "0.5 # 0.4",
    ],
)
def test_value_that_a_comment_tells_wrong_fails(line):
    with pytest.raises(AssertionError, match="its synopsis tells"):
        execute("pipeline.report.formats", line, {})


@pytest.mark.parametrize(
    "line",
    [
        'percent(0.9262)      # "92.6 %", short',
        "[1, 2, 3]   # [1, ...]",
        "'abc'   # 'a...'",
        "1   # images",
        "1 # 1 one",
    ],
)
def test_comment_is_a_value_only_where_it_begins_with_a_literal(line):
    execute("pipeline.report.formats", line, {})
