"""These tests give wrong scenarios, schedules and `--fault` options, each of which is refused in one line:
the place, the error and the remedy."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicloud.core.errors import MiniCloudError
from sim.faults.schedule import ScheduleError
from sim.scenario.expand import expand
from sim.scenario.flags import fault_from_flag
from sim.scenario.lines import Lines
from sim.scenario.reading import ScenarioError
from sim.scenario.replay import read_schedule
from sim.scenario.scenario import load, parse

HEAD = 'name = "x"\nsummary = "s"\n'  # two lines before what is tried


def refused(text: str, **given: Any) -> str:
    """The line that refuses the scenario."""
    with pytest.raises(MiniCloudError) as caught:
        expand(parse(HEAD + text, "x.toml"), 1, **given)
    message = str(caught.value)
    assert "\n" not in message
    return message


def fault(*lines: str) -> str:
    return "\n".join(["[[faults]]", *lines]) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # Syntax and types.
        ("]", "x.toml:3: is not TOML: Invalid statement"),
        ('summary = "t"', "x.toml:3: is not TOML: Cannot overwrite a value"),
        ("\n\na = [\n1,\n2", "x.toml:5: is not TOML: Unclosed array"),
        ('a = "\\q"', "x.toml:3: is not TOML: Unescaped"),
        ("\na = " + "9" * 5000, "x.toml:4: is not TOML: Exceeds the limit"),
        ("a = 2026-02-30", "x.toml:3: is not TOML: "),
        ('[phases]\nchaos = "1m"\nchaos = "2m"', "x.toml:5: is not TOML: Cannot overwrite a value"),
        ("\ntopology = 3", "x.toml:4: topology = 3 is not a table: write [topology] above its keys"),
        ("faults = 3", "x.toml:3: faults = 3 is not a list of tables: write [[faults]]"),
        ("faults = [1]", "x.toml:3: faults: 1 is not a table: write [[faults]]"),
        # Keys.
        ("[phase]\nsetup = '1m'", "x.toml:3: scenario: no key \"phase\": did you mean 'phases'?"),
        ("sumary = 's'", "x.toml:3: scenario: no key \"sumary\": did you mean 'summary'?"),
        ("[phases]\ncaos = '1m'", "x.toml:4: phases: no key \"caos\": did you mean 'chaos'?"),
        ("[topology]\nwrkers = 1", "x.toml:4: topology: no key \"wrkers\": did you mean 'workers'?"),
        ("[timers]\n\n\nheartbeat = '1s'", "x.toml:6: timers: no key \"heartbeat\": did you mean 'heart"),
        # Values of the tables.
        ("[phases]\nchaos = 5", "x.toml:4: phases: chaos = 5 is not a duration: write a number and a unit"),
        ("[phases]\nchaos = '-5m'", 'x.toml:4: phases: chaos = "-5m" is not a duration'),
        ("[phases]\nchaos = 'nan'", 'x.toml:4: phases: chaos = "nan" is not a duration'),
        ("[phases]\nchaos = '400d'", 'x.toml:4: phases: chaos = "400d" is out of range: give 0s to 365d'),
        ("[phases]\nchaos = true", "x.toml:4: phases: chaos = true is not a duration"),
        ("[topology]\nworkers = 0", "x.toml:4: topology: workers = 0 is out of range: give 1 to 1000000"),
        ("[topology]\nworkers = true", "workers = true is not a whole number: give 1 to 1000000"),
        ("[topology]\nworkers = 1.5", "workers = 1.5 is not a whole number"),
        ("[topology]\nworkers = '5'", 'workers = "5" is not a whole number'),
        ("[topology]\nzones = []", "zones = [] has 0 names: give 1 to 100"),
        ("[topology]\nzones = ['a', 'a']", "has 'a' twice: leave one out"),
        ("[topology]\nzones = ['a,b']", "has 'a,b': a name has up to 64 letters"),
        ("[topology]\nzones = 'ab'", "is not a list of names"),
        ("[topology]\nclock-drift = nan", "clock-drift = NaN is out of range: give 0 to 0.5"),
        ("[topology]\nclock-drift = -0.1", "clock-drift = -0.1 is out of range: give 0 to 0.5"),
        ("[topology]\nclock-drift = 1", "clock-drift = 1 is out of range: give 0 to 0.5"),
        ("[topology]\ndelay = ['5ms', '1ms']", "ends before it begins: write ['1ms', '5ms']"),
        ("[topology]\ndelay = ['5ms']", "has 1 parts: give two durations"),
        ("[topology]\ndelay = '5ms'", "is not a range: give the least and the most"),
        ("[topology]\nduplicates = 26", "x.toml:4: topology: duplicates = 26 is more than half of 50"),
        ("[timers]\nheartbeat-interval = '0s'", 'heartbeat-interval = "0s" is out of range: give 50ms to 1h'),
        (
            "[timers]\nheartbeat-timeout = '59s'",
            "x.toml:4: timers: heartbeat-timeout is less than twice heartbeat-interval",
        ),
        ("probes = ['expird']", "x.toml:3: scenario: probes = [\"expird\"] has 'expird', which is not known"),
        ("probes = ['expired', 'expired']", "has 'expired' twice"),
        ("probes = 'expired'", "is not a list of names"),
        # Faults.
        (fault(), "x.toml:3: faults: kind is missing: add one"),
        (fault("kind = 'crush'"), "x.toml:4: faults: kind = \"crush\" is no kind of fault: did you"),
        (fault("kind = 3"), "x.toml:4: faults: kind = 3 is no kind of fault"),
        (fault("kind = 'loss'", "for = '1m'", "loss = '5%'"), 'x.toml:6: loss: no key "loss"'),
        (
            fault("kind = 'loss'", "for = '1m'", "probabilty = 0.1"),
            "x.toml:6: loss: no key \"probabilty\": did you mean 'probability'?",
        ),
        (
            fault("kind = 'loss'", "for = '1m'", "probability = '150%'"),
            'x.toml:6: loss: probability = "150%" is out of range: give 0% to 100%, as in \'5%\' or 0.05',
        ),
        (fault("kind = 'loss'", "probability = '-5%'"), 'probability = "-5%" is out of range'),
        (fault("kind = 'loss'", "probability = 'nan%'"), 'probability = "nan%" is out of range'),
        (fault("kind = 'loss'", "probability = '5'"), 'probability = "5" is not a share'),
        (fault("kind = 'loss'", "probability = 5"), "probability = 5 is out of range"),
        (fault("kind = 'loss'", "probability = inf"), "probability = Infinity is out of range"),
        (fault("kind = 'loss'", "probability = false"), "probability = false is not a share"),
        (
            fault("kind = 'partition'", "direction = 'sideways'"),
            'x.toml:5: partition: direction = "sideways" is not one of both, to-server, to-client',
        ),
        (fault("kind = 'crash'", "restart = 'later'"), 'restart = "later" is not one of at-end, never'),
        (fault("kind = 'clock-drift'", "rate = 0"), "rate = 0 is out of range: give 0.1 to 10"),
        (fault("kind = 'clock-drift'", "rate = '5%'"), 'rate = "5%" is not a number: give 0.1 to 10'),
        (fault("kind = 'clock-step'", "by = 3600"), "by = 3600 is not a duration"),
        (fault("kind = 'clock-step'", "by = '-9999d'"), "is out of range: give -3650d to 3650d"),
        (fault("kind = 'delay'", "low_s = 0.05"), "no key \"low_s\": did you mean 'low'?"),
        (fault("kind = 'delay'", "low = '-1s'"), 'low = "-1s" is not a duration'),
        (fault("kind = 'delay'", "for = '1m'", "low = '1s'"), "high is 500ms and low is 1s: give high"),
        (
            fault("kind = 'delay'", "for = '1m'", "tail = '5%'", "tail-high = '1ms'"),
            "x.toml:7: delay: tail-high is 1ms and high is 500ms: give tail-high at least that",
        ),
        (fault("kind = 'flapping-link'", "up = '0s'"), 'up = "0s" is out of range: give 100ms to 365d'),
        (fault("kind = 'duplicate-id'"), "x.toml:3: duplicate-id: of is missing: add of (a worker's machine"),
        (fault("kind = 'duplicate-id'", "of = 'x'"), 'of = "x" is not a worker: give its machine\'s name'),
        (fault("kind = 'duplicate-id'", "of = 'worker-50'"), "of = 'worker-50' is none of worker-0 to"),
        # When.
        (fault("kind = 'crash'", "for = '5'"), 'for = "5" is not a duration'),
        (fault("kind = 'crash'", "at = '-5s'"), 'at = "-5s" is not a duration'),
        (
            fault("kind = 'crash'", "at = ['5m', '1m']"),
            "x.toml:5: crash: at = [\"5m\", \"1m\"] ends before it begins: write ['1m', '5m']",
        ),
        (fault("kind = 'crash'", "for = '1h'"), "x.toml:5: crash: would last until 3600 s into the chaos"),
        (fault("kind = 'crash'", "at = '11m'"), "crash: would last until 660 s into the chaos"),
        (fault("kind = 'pause'"), "x.toml:3: pause: has to last: give it a length, as in for = '5m'"),
        (fault("kind = 'remove'", "for = '1m'"), "x.toml:5: remove: happens in a moment: leave 'for' out"),
        (fault("kind = 'crash'", "times = 0"), "times = 0 is out of range: give 1 to 10000"),
        (fault("kind = 'crash'", "every = '0s'"), 'every = "0s" is out of range: give 1ms to 365d'),
        (
            fault("kind = 'crash'", "times = 2", "every = '1m'"),
            "x.toml:5: crash: has 'times' and 'every': leave one out",
        ),
        (fault("kind = 'crash'", "every = '1ms'"), "x.toml:5: crash: makes more than 100,000 faults"),
        (fault("kind = 'crash'", "at = '11m'", "every = '1m'"), "crash: never happens, as the chaos"),
        (
            fault("kind = 'flapping-link'", "for = '10m'", "down = '100ms'", "up = '100ms'"),
            "flapping-link: makes more than 100,000 faults",
        ),
        # Who.
        (fault("kind = 'crash'", "target = 'worker-60'"), "x.toml:5: crash: target: no worker-60: there are"),
        (fault("kind = 'crash'", "target = 'zone:d'"), "x.toml:5: crash: target: no zone 'd': there are a"),
        (fault("kind = 'crash'", "target = 5"), "x.toml:5: crash: target = 5 is not text: put it in quotes"),
        (fault("kind = 'remove'", "target = 'control-plane'"), "x.toml:5: remove: is on workers only"),
        (
            fault("kind = 'slow-server'", "for = '1m'", "target = 'all'"),
            "x.toml:6: slow-server: is on the control plane only: leave 'target' out",
        ),
    ],
)  # fmt: skip
def test_scenario_that_is_not_right_is_refused_by_line_and_with_what_would_be(
    text: str, message: str
) -> None:
    said = refused(text)
    assert message in said
    assert re.match(r"x\.toml:[0-9]+: ", said)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.toml:1: scenario: name is missing: add name (name: up to 64 letters"),
        ('name = "x"', "x.toml:1: scenario: summary is missing"),
        ('name = "../x"\nsummary = "s"', 'x.toml:1: scenario: name = "../x" is not a name'),
        ('name = "x"\nsummary = ""', 'x.toml:2: scenario: summary = "" is not a line of text'),
        ('name = "x"\nsummary = "a\\nb"', r'x.toml:2: scenario: summary = "a\nb" is not a line of text'),
        ('name = "x"\nsummary = 2026-01-01', "x.toml:2: scenario: summary = 2026-01-01 is not text"),
    ],
)
def test_scenario_without_a_head_is_refused(text: str, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse(text, "x.toml")
    assert message in str(caught.value)


def test_scenario_for_fewer_workers_than_it_names_is_refused() -> None:
    text = fault("kind = 'duplicate-id'", "target = 'worker-1'", "of = 'worker-6'")
    assert "x.toml:6: duplicate-id: of = 'worker-6' is none of worker-0 to worker-4" in refused(
        text, workers=5
    )


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "latin.toml",
            b'name = "x"\nsummary = "\xe9"\n',
            "latin.toml:2: is not UTF-8: save the file as UTF-8",
        ),
        ("large.toml", b"#" * 500_001, "has 500001 bytes: a scenario has at most 500000"),
        ("deep.toml", b"a = " + b"[" * 50_000 + b"]" * 50_000, "deep.toml"),
    ],
)
def test_file_that_is_no_scenario_is_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ScenarioError) as caught:
        load(str(tmp_path / name))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("partion", "no scenario 'partion': did you mean 'partition'?"),
        ("nope", "no scenario 'nope': there are clock-drift, "),
    ],
)
def test_unknown_scenario_is_refused_with_the_nearest_name(name: str, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load(name)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("loss", "--fault loss: give a value, as in loss=5%"),
        ("loss=", "--fault loss=: give a value"),
        ("=5%", "--fault =5%: no fault ''"),
        ("fire=all", "--fault fire=all: no fault 'fire'"),
        ("los=5%", "--fault los=5%: no fault 'los': did you mean 'loss'?"),
        ("loss=150%", 'loss: probability = "150%" is out of range: give 0% to 100%'),
        ("loss=nan", "loss: probability = NaN is out of range"),
        ("loss=5%,direction=sideways", 'direction = "sideways" is not one of'),
        ("loss=5%,probability=6%", "has 'probability' twice: leave one out"),
        ("loss=5%,probabilty=6%", "loss: no key \"probabilty\": did you mean 'probability'?"),
        ("delay=1s..50ms", "high is 50ms and low is 1s"),
        ("delay=1s..", 'high = "" is not a duration'),
        ("clock-drift=fast", 'rate = "fast" is not a number'),
        ("crash=all,at=1h", "begins after the chaos, which lasts 600 s"),
        ("crash=all,at=soon", "at = 'soon' is not a duration"),
        ("crash=all,times=0", "times = 0 is out of range"),
        ("remove=all,for=1m", "remove: happens in a moment: leave 'for' out"),
        ("crash=worker-50", "crash: target: no worker-50: there are worker-0 to worker-49"),
    ],
)
def test_fault_flag_that_is_not_right_is_refused_as_in_a_file(flag: str, message: str) -> None:
    scenario = parse(HEAD, "x.toml")

    def run() -> None:
        expand(replace(scenario, faults=(fault_from_flag(flag, scenario),)), 1)

    with pytest.raises(ScenarioError) as caught:
        run()
    assert str(caught.value).startswith(f"--fault {flag}: ")
    assert message in str(caught.value)


# Schedules


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("name",), "../x", '$.name = "../x" is not a name'),
        (("seed",), -1, "$.seed = -1 is out of range"),
        (("sed",), 1, "$.sed is no key of one"),
        (("probes",), ["nope"], "$.probes = [\"nope\"] has 'nope', which is not known"),
        (("topology", "workers"), 0, "$.topology.workers = 0 is out of range"),
        (("topology", "zones"), [], "$.topology.zones = [] has 0 names"),
        (("topology", "ramp_s"), -1.0, "$.topology.ramp_s = -1.0 is out of range"),
        (("topology", "duplicates"), 4, "$.topology.duplicates = 4 is more than half of the workers"),
        (("topology", "delay", "low_s"), 9.0, "$.topology.delay = [9.0, 0.002] is not a range"),
        (("topology", "delay", "tail"), 2.0, "$.topology.delay.tail = 2.0 is out of range"),
        (("topology", "timers", "heartbeat_timeout_s"), 31.0, "is less than twice the interval"),
        (("phases", "chaos_s"), -5.0, "$.phases.chaos_s = -5.0 is out of range"),
        (("faults", 0, "kind"), "los", "$.faults[0].kind = \"los\" is no kind of fault: did you"),
        (("faults", 0, "kind"), "swizzle", '$.faults[0].kind = "swizzle" is no kind of fault'),
        (("faults", 0, "nodes"), ["worker-9"], '$.faults[0].nodes = "worker-9" cannot have loss'),
        (("faults", 0, "at_s"), -1.0, "$.faults[0].at_s = -1.0 is out of range"),
        (("faults", 0, "for_s"), 9e9, "$.faults[0].for_s = 9000000000.0 ends after the chaos, at 720"),
        (("faults", 0, "options", "probability"), 1.5, "$.faults[0].options.probability = 1.5 is out"),
        (("faults", 0, "options", "probability"), "5%", 'probability = "5%" is out of range'),
        (("faults", 0, "options", "probabilty"), 0.5, "is no option of loss: did you mean 'probability'?"),
        (("faults", 0, "options", "direction"), "up", 'direction = "up" is not one of both'),
        (("faults", 0, "options", "direction"), 3, "direction = 3.0 is not one of both"),
    ],
)  # fmt: skip
def test_schedule_that_is_not_right_is_refused_by_path(
    tmp_path: Path, path: tuple[str | int, ...], value: object, message: str
) -> None:
    text = fault("kind = 'loss'", "for = '1m'", "probability = 0.1")
    document = msgspec.to_builtins(expand(parse(HEAD + text, "x.toml"), 1, workers=6))
    document["faults"] = list(document["faults"])
    file = tmp_path / "x.json"
    file.write_bytes(msgspec.json.encode(document))
    read_schedule(str(file))  # as it is written it is right
    here = document
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
    file.write_bytes(msgspec.json.encode(document))
    with pytest.raises(ScheduleError) as caught:
        read_schedule(str(file))
    assert str(caught.value).startswith(f"{file}: not a schedule: ")
    assert message in str(caught.value)


# Lines

TRICKY = '''\
# [phases]
name = """
[topology]
chaos = 1
"""
"a.b" . c = 1

[ topology ]  # a comment
zones = [
  "a", # [[faults]]
  "b",
]
inline = { x = 1, y.z = 2 }
[[faults]]
kind = 'x'
[faults.more]
key = 1
[[ faults ]]
kind = """a\\
  b"""
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 2),
        (("a.b", "c"), 6),
        (("topology",), 8),
        (("topology", "zones"), 9),
        (("topology", "zones", 1), 9),
        (("topology", "inline", "y", "z"), 13),
        (("faults", 0), 14),
        (("faults", 0, "kind"), 15),
        (("faults", 0, "more", "key"), 17),
        (("faults", 1, "kind"), 19),
        (("faults", 1, "missing"), 18),
        (("missing",), 1),
    ],
)
def test_line_of_a_key_is_found_whatever_is_before_it(path: tuple[str | int, ...], line: int) -> None:
    assert Lines("x.toml", TRICKY).of(path) == line


@settings(deadline=None)  # a machine may be busy
@given(st.text(max_size=200))
def test_text_that_is_no_scenario_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse(text, "x.toml")
    assert re.match(r"x\.toml:[0-9]+: ", str(caught.value))
    assert len(str(caught.value).splitlines()) == 1
