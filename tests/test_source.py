"""Rules for the source that keep it independent of the Python and the locale it runs on.

Reads the source, runs none of it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ("minicloud", "sim", "packaging", "proto")


def trees(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Each source file below `folders`: its name and its syntax tree."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text("utf-8"))


def raising_handlers(tree: ast.AST) -> list[int]:
    """The lines of `except*` handlers that raise, await or exit."""
    return [
        node.lineno
        for statement in ast.walk(tree)
        if isinstance(statement, ast.TryStar)
        for handler in statement.handlers
        for node in ast.walk(handler)
        if isinstance(node, ast.Raise | ast.Await | ast.AsyncWith | ast.AsyncFor)
        or (isinstance(node, ast.Call) and ast.unparse(node.func) in ("exit", "sys.exit"))
    ]


def files_in_the_locales_encoding(tree: ast.AST) -> list[int]:
    """The lines of calls that read or write text in whatever encoding the locale has."""
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Call) and _leaves_encoding(node)]


def _leaves_encoding(call: ast.Call) -> bool:
    function = ast.unparse(call.func)
    name = function.rpartition(".")[2]
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in given:
        return False
    if name == "read_text":
        return not call.args
    if name == "write_text":
        return len(call.args) < 2
    if name in ("run", "Popen", "check_output"):
        text = given.get("text")
        return isinstance(text, ast.Constant) and text.value is True
    if name != "open" or function in ("os.open", "gzip.open", "tarfile.open", "trio.open"):
        return False
    place = 0 if isinstance(call.func, ast.Attribute) else 1
    mode = given.get("mode", call.args[place] if len(call.args) > place else None)
    return mode is None or (isinstance(mode, ast.Constant) and "b" not in str(mode.value))


@pytest.mark.parametrize(
    "body", ["raise", "await other()", "sys.exit(1)", "if x:\n    exit(2)", "async for x in y: pass"]
)
def test_handler_of_a_group_that_raises_is_found(body: str) -> None:
    indented = body.replace("\n", "\n            ")
    code = f"async def f():\n    try:\n        pass\n    except* OSError:\n            {indented}\n"
    assert raising_handlers(ast.parse(code))
    assert not raising_handlers(ast.parse(code.replace("except*", "except")))


@pytest.mark.parametrize(
    ("call", "found"),
    [
        ("path.read_text()", True),
        ("path.read_text('utf-8')", False),
        ("path.write_text(text)", True),
        ("path.write_text(text, encoding='utf-8')", False),
        ("open(path)", True),
        ("open(path, 'w')", True),
        ("open(path, 'rb')", False),
        ("path.open()", True),
        ("path.open('ab')", False),
        ("os.open(path, os.O_RDONLY)", False),
        ("subprocess.run(command, text=True)", True),
        ("subprocess.run(command, text=True, encoding='utf-8')", False),
        ("subprocess.run(command)", False),
    ],
)
def test_text_in_the_locales_encoding_is_found(call: str, found: bool) -> None:
    assert bool(files_in_the_locales_encoding(ast.parse(call))) is found


def test_no_handler_of_an_exception_group_raises_as_python_before_3_11_4_wraps_it() -> None:
    wrong = {name: lines for name, tree in trees(*SHIPPED, "tests") if (lines := raising_handlers(tree))}
    assert wrong == {}


def test_text_of_files_and_processes_has_an_encoding_of_its_own_not_the_locales() -> None:
    wrong = {name: lines for name, tree in trees(*SHIPPED) if (lines := files_in_the_locales_encoding(tree))}
    assert wrong == {}


def test_tests_that_the_sources_name_exist() -> None:
    tests = {path.name for path in (ROOT / "tests").rglob("*.py")}
    tests |= {
        node.name
        for _, tree in trees("tests")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    wrong = {
        name: missing
        for name, _ in trees("minicloud", "sim")
        if (
            missing := set(re.findall(r"(?<![\w.])test_\w+(?:\.py)?", (ROOT / name).read_text("utf-8")))
            - tests
        )
    }
    assert wrong == {}
