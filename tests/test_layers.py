"""These tests keep the floors of the house: imports go one way, and `core` is pure. They read the source and
run none of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Lower floors come first. A room may import its own package and rooms of lower floors only.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"__init__"}),
    frozenset({"core"}),
    frozenset({"clock", "lines", "request_id", "starting"}),
    frozenset({"net", "process"}),
    frozenset({"wire", "store", "http2"}),
    frozenset({"rpc"}),
    frozenset({"control", "worker"}),
    frozenset({"config", "log"}),
    frozenset({"app"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
# The floors would allow these imports, and they are forbidden all the same.
NEVER = {
    "rpc": {"wire", "store"},  # it carries any service, and no worker; but see STANDARD
    "wire": {"store"},
    "store": {"wire"},
    "control": {"worker"},
    "worker": {"control", "store"},
}
# The messages of gRPC's own services are generated beside ours.
STANDARD = "minicloud.wire.gen.grpc."
# The libraries that speak HTTP/2, and the module of `http2` that may be replaced to be rid of each.
HTTP2_LIBRARIES = {"h2": "engine", "hyperframe": "engine", "hpack": "compression"}
# Core may use this much of the standard library: nothing that does I/O, reads a clock or draws a number.
CORE_MAY_IMPORT = {
    "__future__", "bisect", "collections", "dataclasses", "enum", "math", "re", "typing",
}  # fmt: skip


def _modules() -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / "minicloud").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if "gen" not in parts:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imports(path: Path, *, at_run_time_only: bool = False) -> Iterator[str]:
    """Yield every module that an import of `path` names, also inside functions unless `at_run_time_only`."""
    tree = ast.parse(path.read_text())
    for node in tree.body if at_run_time_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def _floor(room: str) -> int:
    for number, rooms in enumerate(FLOORS):
        if room in rooms:
            return number
    raise AssertionError(f"minicloud/{room} stands on no floor: give it one in {Path(__file__).name}")


def _ours(name: str, modules: dict[str, Path]) -> str | None:
    """Return the module of ours that `name` (a module, or a thing in one) belongs to; None if it is
    not ours."""
    if not name.startswith("minicloud"):
        return None
    while name not in modules:
        name = name.rpartition(".")[0]
        if not name:
            return None
    return name


def test_imports_never_run_to_a_higher_floor() -> None:
    modules = _modules()
    wrong = []
    for module, path in modules.items():
        room = _room(module)
        for name in _imports(path):
            # Generated packages count as `minicloud.wire`.
            target = "minicloud.wire" if name.startswith("minicloud.wire.gen") else _ours(name, modules)
            if target is None or _room(target) == room:
                continue
            if room == "rpc" and name.startswith(STANDARD):
                continue
            if _floor(_room(target)) >= _floor(room) or _room(target) in NEVER.get(room, ()):
                wrong.append(f"{module} imports {target}")
    assert wrong == []


def test_imports_hold_no_circle() -> None:
    modules = _modules()
    graph = {
        module: sorted(
            {target for name in _imports(path, at_run_time_only=True) if (target := _ours(name, modules))}
            - {module}
        )
        for module, path in modules.items()
    }
    done: set[str] = set()

    def walk(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"circle: {' -> '.join((*trail[trail.index(module) :], module))}"
        if module not in done:
            for target in graph[module]:
                walk(target, (*trail, module))
            done.add(module)

    for module in graph:
        walk(module, ())


@pytest.mark.parametrize(
    "path", sorted((ROOT / "minicloud" / "core").rglob("*.py")), ids=lambda path: path.stem
)
def test_core_does_no_io_reads_no_clock_and_draws_nothing(path: Path) -> None:
    for name in _imports(path):
        top = name.split(".")[0]
        assert top in CORE_MAY_IMPORT or name.startswith("minicloud.core."), f"{path.name} imports {name}"
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), f"{path.name}:{node.lineno} is async"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input", "exec", "eval"}, (
                f"{path.name}:{node.lineno}"
            )


def test_nothing_of_minicloud_imports_the_simulator_or_the_tests() -> None:
    for module, path in _modules().items():
        for name in _imports(path):
            assert name.split(".")[0] not in {"sim", "tests"}, f"{module} imports {name}"


def test_only_http2_imports_the_libraries_that_speak_it() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, path in _modules().items()
        for name in _imports(path)
        if name.split(".")[0] in HTTP2_LIBRARIES and _room(module) != "http2"
    ]
    assert wrong == []


@pytest.mark.parametrize(("library", "only"), sorted(HTTP2_LIBRARIES.items()))
def test_each_library_of_http2_is_imported_by_one_module(library: str, only: str) -> None:
    importing = {
        module
        for module, path in _modules().items()
        for name in _imports(path)
        if name.split(".")[0] == library
    }
    assert importing == {f"minicloud.http2.{only}"}


def test_http2_knows_no_grpc() -> None:
    for path in sorted((ROOT / "minicloud" / "http2").glob("*.py")):
        for name in _imports(path):
            assert name.split(".")[0] not in {"grpclib", "google", "betterproto2"}, f"{path.name}: {name}"


# The simulator: its own floors, by the same rules.

SIM_FLOORS = (
    {"engine", "options"},
    {"net"},
    {"cluster"},
    {"faults"},
    {"simulation", "verdict", "search"},
    {"oracle", "record", "scenario"},
    {"report"},
    {"real"},
    {"program"},
    {"__main__"},
)


def _sim_graph() -> dict[str, list[str]]:
    """Every module of the simulator with those that it imports anywhere, also in functions and for types."""
    modules = {}
    for path in sorted((ROOT / "sim").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path

    def ours(name: str) -> str:
        while name and name not in modules:
            name = name.rpartition(".")[0]
        return name

    return {
        module: sorted({target for name in _imports(path) if (target := ours(name))} - {module, "sim"})
        for module, path in modules.items()
    }


def test_simulator_imports_never_run_to_a_higher_floor() -> None:
    floors = {room: number for number, rooms in enumerate(SIM_FLOORS) for room in rooms}
    loose = {path.stem for path in (ROOT / "sim").glob("*.py")}
    assert loose == {"__init__", "__main__"}
    assert [
        f"{module} imports {target}"
        for module, targets in _sim_graph().items()
        for target in targets
        if _room(module) != _room(target) and floors[_room(target)] >= floors[_room(module)]
    ] == []


def test_simulator_imports_hold_no_circle() -> None:
    left = _sim_graph()
    while free := [module for module, targets in left.items() if not set(targets) & set(left)]:
        for module in free:
            del left[module]
    assert list(left) == [], "each of these imports itself, through others"
