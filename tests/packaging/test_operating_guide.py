"""The operating guide has a row for each log event and each metric, and no row of the past (DESIGN 46)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from minicloud.cli.parser import COMMANDS
from minicloud.config.table import GRPC_PORT, HTTP_PORT, SETTINGS, WORKER_PORT
from minicloud.control import membership
from minicloud.store.sqlite.schema import SCHEMA_VERSION
from tests.packaging.exposition import exposed_types
from tests.packaging.files import ROOT

GUIDE = (ROOT / "docs/operating.md").read_text()
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
# The values of `entry.kind` in `worker_{entry.kind}`.
KINDS = {"registered", "departed", "unhealthy", "recovered", "leaving", *membership._ADMIN_KINDS.values()}


def rows(section: str) -> dict[str, str]:
    """Return the first two columns of the table in a section, names without their backquotes."""
    text = GUIDE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", text, re.MULTILINE)
    assert len(found) == len(dict(found)), f"a row twice in {section}"
    return dict(found)


def logged(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield every event that a module logs, with its level."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        methods = [node.func.body, node.func.orelse] if isinstance(node.func, ast.IfExp) else [node.func]
        if not all(
            isinstance(m, ast.Attribute) and m.attr in LEVELS and _is_logger(m.value) for m in methods
        ):
            continue
        event = node.args[0]
        events = [event.body, event.orelse] if isinstance(event, ast.IfExp) else [event] * len(methods)
        for method, name in zip(methods, events, strict=True):
            assert isinstance(method, ast.Attribute)
            level = "error" if method.attr == "exception" else method.attr
            for text in _texts(name):
                yield text, level


def _is_logger(node: ast.expr) -> bool:
    text = ast.unparse(node)
    return text.split(".")[-1] in {"log", "_log", "logger"} or text.endswith("get_logger()")


def _texts(name: ast.expr) -> list[str]:
    if isinstance(name, ast.Constant):
        return [str(name.value)]
    assert ast.unparse(name) == "f'worker_{entry.kind}'", (
        f"an event without a plain name: {ast.unparse(name)}"
    )
    return [f"worker_{kind}" for kind in sorted(KINDS)]


def events() -> dict[str, set[str]]:
    """Return every event of MiniCloud, with the levels at which it is logged."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "minicloud").rglob("*.py")):
        for event, level in logged(ast.parse(path.read_text())):
            found.setdefault(event, set()).add(level)
    return found


def test_each_log_event_has_its_row_and_no_row_is_of_the_past() -> None:
    documented = {event: set(levels.split(", ")) for event, levels in rows("Log events").items()}
    assert documented == events()


def test_each_metric_has_its_row_and_no_row_is_of_the_past() -> None:
    assert rows("Metrics") == exposed_types()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("log.info('a', x=1)", [("a", "info")]),
        ("self._log.exception('b')", [("b", "error")]),
        ("structlog.get_logger().warning('c')", [("c", "warning")]),
        ("(log.warning if first else log.debug)('d')", [("d", "warning"), ("d", "debug")]),
        ("(log.warning if first else log.debug)('e' if first else 'f')", [("e", "warning"), ("f", "debug")]),
        ("membership.error('g')", []),
    ],
)
def test_log_events_are_found_in_source(source: str, found: list[tuple[str, str]]) -> None:
    assert list(logged(ast.parse(source))) == found


def test_kinds_of_entries_are_those_that_membership_tells() -> None:
    source = ast.parse(Path(membership.__file__).read_text())
    (told,) = (n for n in ast.walk(source) if isinstance(n, ast.FunctionDef) and n.name == "_description")
    returned = [
        n.value.elts[0]
        for n in ast.walk(told)
        if isinstance(n, ast.Return) and isinstance(n.value, ast.Tuple)
    ]
    plain = {kind.value for kind in returned if isinstance(kind, ast.Constant)}
    assert plain | set(membership._ADMIN_KINDS.values()) == KINDS


def test_guide_names_the_ports_there_are() -> None:
    ports = re.findall(r"^\| (\d+) \|", GUIDE, re.MULTILINE)
    assert ports[:3] == [GRPC_PORT.default, HTTP_PORT.default, WORKER_PORT.default]


def test_guide_names_commands_options_and_variables_there_are() -> None:
    flags = {setting.flag for setting in SETTINGS}
    of_commands = {"--data-dir", "--url", "--header", "--check", "--address", "--status", "--reason"}
    of_commands |= {"--yes", "--deadline", "--force"}
    of_others = {
        "--now",
        "--prefix",
        "--destdir",
        "--uninstall",
        "--from",
        "--init",
        "--tmpfs",
        "--read-only",
        "--help",
    }
    of_the_simulator = {"--target", "--workers", "--ramp", "--duration"}
    for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", GUIDE):
        assert flag in flags | of_commands | of_others | of_the_simulator, flag
    for variable in re.findall(r"MINICLOUD_[A-Z_]+", GUIDE):
        others = {"MINICLOUD_WORKER", "MINICLOUD_URL"}
        assert variable in others | {setting.env for setting in SETTINGS}, variable
    for command in re.findall(r"(?<=[`\n])minicloud ([a-z]+)", GUIDE):
        assert command in COMMANDS, command


def test_guide_knows_the_newest_schema() -> None:
    section = GUIDE.partition("## Upgrade and downgrade")[2].partition("\n## ")[0]
    versions = re.findall(r"^\| (\d+) \|", section, re.MULTILINE)
    assert versions == [str(number) for number in range(1, SCHEMA_VERSION + 1)]
