from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicloud.config.placeholders import MAX_CHARS, Expander, Value
from minicloud.core.errors import ConfigError


def expand(text: str, env: Mapping[str, str] | None = None, keys: Mapping[str, str] | None = None) -> str:
    def look_up(name: str) -> tuple[str, Value] | None:
        return (name, Value(keys[name], f"app.yml:9: {name}")) if keys and name in keys else None

    return Expander(env or {}, look_up).expand(Value(text, "app.yml:3: it"))


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain", "plain"),
        ("$HOME {} } $", "$HOME {} } $"),
        ("${SET}", "from-env"),
        ("a-${SET}-b-${SET}", "a-from-env-b-from-env"),
        ("${SET:default}", "from-env"),
        ("${EMPTY:default}", ""),
        ("${UNSET:default}", "default"),
        ("${UNSET:}", ""),
        ("${UNSET:host:9090}", "host:9090"),
        ("${UNSET:${SET}}", "from-env"),
        ("${UNSET:${ALSO_UNSET:deep}}!", "deep!"),
        ("${UNSET:{}}", "{}"),
        ("${a.key}", "of-file"),
        ("${BOTH}", "env wins"),
        ("${chain}", "x-of-file"),
        ("${a.${NAME}}", "of-file"),
        ("${ SET }", "from-env"),
        # A variable is found by the dotted name of a key, as Spring's relaxed binding finds it.
        ("${control.plane.host:no}", "relaxed"),
        ("${control-plane.host:no}", "uniform"),
        ("${controlPlane.host:no}", "uniform"),
        ("${list[0]:no}", "first"),
        ("${db.port:5432}", "5432"),
        ("${SERVICE_PORT:no}", "tcp://10.0.0.1:1"),
        # The value of a variable is expanded as well.
        ("${OUTER}", "<from-env>"),
        ("${OUTER_DEFAULT}", "deep"),
        ("${OF_FILE}", "of-file"),
        # A default that is not needed is not looked at.
        ("${SET:${UNSET}}", "from-env"),
    ],
)
def test_placeholder_well_formed_expands(text: str, expanded: str) -> None:
    env = {
        "SET": "from-env",
        "EMPTY": "",
        "BOTH": "env wins",
        "NAME": "key",
        "CONTROL_PLANE_HOST": "relaxed",
        "CONTROLPLANE_HOST": "uniform",
        "LIST_0": "first",
        "DB_PORT": "tcp://10.0.0.1:1",  # the variable of a service beside it, not meant for MiniCloud
        "SERVICE_PORT": "tcp://10.0.0.1:1",
        "OUTER": "<${SET}>",
        "OUTER_DEFAULT": "${UNSET:${ALSO_UNSET:deep}}",
        "OF_FILE": "${a.key}",
    }
    keys = {"a.key": "of-file", "BOTH": "file loses", "chain": "x-${a.key}"}
    assert expand(text, env, keys) == expanded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${UNSET}", r"app\.yml:3: it: 'UNSET' is neither an environment variable nor a key"),
        ("${through}", r"app\.yml:9: through: 'MISSING' is neither"),
        ("${open", r"app\.yml:3: it: '\$\{open' is not closed"),
        ("${a:${b}", "is not closed"),
        ("${}", "names nothing"),
        ("${:x}", "names nothing"),
        ("${loop.a}", r"app\.yml:9: loop\.a: refers to itself: loop\.a -> loop\.b -> loop\.a"),
        ("${self}", "refers to itself: self -> self"),
        ("${x:" * 40 + "}" * 40, "nested over"),
        ("${LOOP}", r"LOOP: refers to itself: LOOP -> LOOP"),
        ("${VIA}", r"loop\.b: refers to itself: VIA -> loop\.b -> loop\.a -> loop\.b"),
        ("${HALF}", r"HALF: 'NONE' is neither an environment variable nor a key of the file"),
    ],
)
def test_placeholder_not_expandable_names_key_and_line(text: str, message: str) -> None:
    keys = {"through": "${MISSING}", "loop.a": "${loop.b}", "loop.b": "${loop.a}", "self": "${self}"}
    env = {"LOOP": "${LOOP}", "VIA": "${loop.b}", "HALF": "${NONE}"}
    with pytest.raises(ConfigError, match=message):
        expand(text, env, keys)


def test_placeholder_doubling_at_every_level_ends() -> None:
    keys = {f"k{level}": f"${{k{level + 1}}}" * 2 for level in range(30)} | {"k30": "x"}
    with pytest.raises(ConfigError, match="it takes over"):
        expand("${k0}", {}, keys)


def test_placeholder_expanding_to_a_huge_text_ends() -> None:
    with pytest.raises(ConfigError, match=f"over {MAX_CHARS}"):
        expand("${BIG}" * 400, {"BIG": "x" * 10_000})


_TEXTS = st.lists(
    st.sampled_from(["${", "}", ":", "{", "$", "A", "B", "k.a", "k.b", "x", " ", "-", "\n", "é"]), max_size=25
).map("".join)


@given(
    _TEXTS,
    st.dictionaries(st.sampled_from("AB"), _TEXTS),
    st.dictionaries(st.sampled_from(["k.a", "k.b"]), _TEXTS),
)
def test_placeholder_whatever_the_text_ends_with_a_text_or_a_config_error(
    text: str, env: dict[str, str], keys: dict[str, str]
) -> None:
    problem = ""
    expanded = text
    try:
        expanded = expand(text, env, keys)
    except ConfigError as error:
        problem = str(error)
    assert problem.startswith(("app.yml:", "A:", "B:")) or not problem
    assert "${" in text or expanded == text
