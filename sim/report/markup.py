"""HTML and SVG from parts.

Always holds: text is escaped unless `element` has made it (tests/sim/test_report.py).
"""

from __future__ import annotations

from html import escape


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Part = Markup | str | None

_VOID = frozenset({"meta", "br", "hr"})


def element(name: str, /, *parts: Part, **attributes: str | float | None) -> Markup:
    """`<name …>parts</name>`. Attributes are named as Python allows: `class_`, `aria_label`, `stroke_width`;
    those that are None are left out, as are such parts. Numbers are rounded to tenths."""
    shown = "".join(
        f' {_attribute(key)}="{escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{joined(*parts)}</{name}>")


def joined(*parts: Part) -> Markup:
    """Parts one after the other."""
    return Markup(
        "".join(
            part if isinstance(part, Markup) else escape(part, quote=False)
            for part in parts
            if part is not None
        )
    )


def number(value: float) -> str:
    """A coordinate, as short as tenths can be."""
    return f"{value:.1f}".removesuffix(".0")


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else number(value)
