"""One key of a scenario, a schedule or a fault: its name, kind of value, default and meaning."""

from __future__ import annotations

from dataclasses import dataclass

from sim.options.values import Kind

REQUIRED = object()  # in place of a default


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `default` is written as in a file.

    `field` is its name in the code and in schedules, where that has a unit or Python forbids the other.
    """

    name: str
    kind: Kind
    meaning: str
    default: object = REQUIRED
    field: str = ""

    @property
    def code_name(self) -> str:
        return self.field or self.name.replace("-", "_")

    @property
    def default_value(self) -> object:
        """The default after conversion."""
        return self.kind.read(self.default)
