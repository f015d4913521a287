"""The table of what scenarios may have, against the code that carries it out and the documents made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.faults.kind import Lasts
from sim.faults.kinds import KINDS, REAL, SIMULATED
from sim.options.key import REQUIRED, Key
from sim.program.cli import COULD_NOT_RUN, HELD
from sim.program.main import main
from sim.scenario.document import document
from sim.scenario.expand import expand
from sim.scenario.scenario import builtin, builtin_names, parse
from sim.scenario.table import FAULT, PHASES, TIMERS, TOP, TOPOLOGY

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "scenarios.md"
KEYS = [
    *((f"{title}.{key.name}", key) for title, keys in
      (("top", TOP), ("topology", TOPOLOGY), ("timers", TIMERS), ("phases", PHASES), ("fault", FAULT))
      for key in keys),
    *((f"{kind.name}.{key.name}", key) for kind in KINDS.values() for key in kind.options),
]  # fmt: skip


def test_every_kind_of_fault_has_an_effect_or_a_pattern() -> None:
    patterns = {name for name, kind in KINDS.items() if kind.pattern is not None}
    assert patterns
    assert set(KINDS) == {*SIMULATED, *patterns}
    assert set(REAL) < set(SIMULATED)


@pytest.mark.parametrize(("name", "key"), KEYS, ids=[name for name, _ in KEYS])
def test_default_is_right_by_its_own_kind(name: str, key: Key) -> None:
    if key.default not in (REQUIRED, None):
        key.kind.check(key.default_value)


@pytest.mark.parametrize("kind", KINDS)
def test_fault_of_every_kind_with_all_of_its_options_expands(kind: str) -> None:
    keys = [f'kind = "{kind}"']
    if KINDS[kind].lasts is not Lasts.MOMENT:
        keys.append('for = "1m"')
    for option in KINDS[kind].options:
        default = {"of": "worker-1", "tail-high": "1s"}.get(option.name, option.default)
        keys.append(f"{option.name} = {default!r}")
    text = "\n".join(['name = "x"', 'summary = "s"', "[[faults]]", *keys])
    assert expand(parse(text, "x.toml"), 1, workers=10).faults


def test_docs_are_made_from_the_table() -> None:
    assert DOCUMENT.read_text() == document(), "docs/scenarios.md is out of date: run 'make docs'"


@pytest.mark.parametrize("name", builtin_names())
def test_show_prints_a_builtin_scenario_that_can_be_run(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--show", name]) == HELD
    shown = capsys.readouterr().out
    assert shown == builtin(name)
    assert parse(shown, name).name == name


def test_show_format_prints_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--show", "format"]) == HELD
    assert capsys.readouterr().out == document()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("partion", "no built-in scenario 'partion': did you mean 'partition'?"),
        ("nope", "no built-in scenario 'nope': there are clock-drift, "),
        ("swarm", "swarm has no file, as each seed draws another schedule"),
    ],
)
def test_show_of_what_there_is_not_is_refused_with_what_there_is(
    name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--show", name]) == COULD_NOT_RUN
    assert capsys.readouterr().err.startswith(f"minicloud-sim: {said}")


def test_list_names_options_as_files_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == HELD
    shown = capsys.readouterr().out
    for kind in KINDS.values():
        assert f"  {kind.name} " in shown
        assert ", ".join(option.name for option in kind.options) in shown
    assert "high_s" not in shown
    assert "--show NAME" in shown
