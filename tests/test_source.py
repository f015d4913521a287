"""These tests keep rules of the source: it is independent of the Python and the locale it runs on, and its
docstrings are sentences. They read the source and run none of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ("minicloud", "sim", "packaging", "proto")
# /openapi.json shows the docstrings of these two, which describe shapes and are no sentences.
SHAPES = {"minicloud/control/rest/bodies.py", "minicloud/control/rest/schemas.py"}
# A docstring that begins with one of these words is a question or half a sentence.
RIDDLES = {"As", "How", "Likewise", "What", "Where", "Whether", "Which", "Who", "Whom", "Whose", "Those"}


def trees(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield the name and the syntax tree of each source file below `folders`."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text("utf-8"))


def raising_handlers(tree: ast.AST) -> list[int]:
    """Return the lines of `except*` handlers that raise, await or exit."""
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
    """Return the lines of calls that read or write text in whatever encoding the locale has."""
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


def riddles(tree: ast.AST) -> list[int]:
    """Return the lines of docstrings that begin with one of the words in `RIDDLES`."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        node.body[0].lineno
        for node in ast.walk(tree)
        if isinstance(node, documented)
        and (text := ast.get_docstring(node))
        and re.split(r"\W", text, maxsplit=1)[0] in RIDDLES
    ]


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


@pytest.mark.parametrize(
    ("docstring", "found"),
    [
        ("What the program prints.", True),
        ("Whether it is done.", True),
        ("Those of one worker.", True),
        ("Where it is.\n\nIt may be None.", True),
        ("How long it takes.", True),
        ("Return what the program prints.", False),
        ("`What` is a class.", False),
        ("Whatever it holds, the line is written.", False),
    ],
)
def test_docstring_that_is_half_a_sentence_is_found(docstring: str, found: bool) -> None:
    body = f"    {docstring!r}\n"
    for code in (f"{docstring!r}\n", f"class C:\n{body}", f"def f():\n{body}", f"async def f():\n{body}"):
        assert bool(riddles(ast.parse(code))) is found, code


def test_no_docstring_is_half_a_sentence() -> None:
    wrong = {
        name: lines
        for name, tree in trees(*SHIPPED, "tests", ".ci")
        if name not in SHAPES and "/wire/gen/" not in name and (lines := riddles(tree))
    }
    assert wrong == {}
