"""The list of columns has one for every field of every record, and each field comes back from its row
unchanged."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import pytest

from minicloud.core.errors import InvalidError
from minicloud.core.model import Resources
from minicloud.store.port import Change
from minicloud.store.sqlite.columns import TABLES, Table
from minicloud.store.sqlite.database import Database
from tests.unit.store.changes import stored


def field_types(record: type[Any]) -> dict[str, Any]:
    """Return the record's own fields, by name."""
    hints = get_type_hints(record)
    named = (
        [field.name for field in dataclasses.fields(record)] if dataclasses.is_dataclass(record) else hints
    )
    return {name: hints[name] for name in named}


def paths(record: type[Any]) -> Iterator[str]:
    """Return every field, those of a record within it by a path."""
    for name, kind in field_types(record).items():
        if kind is Resources:
            yield from (f"{name}.{part}" for part in paths(kind))
        else:
            yield name


def example(record: type[Any], number: int) -> Any:
    """Return a record whose every field has a value that no other field of it has; `number` makes others."""
    numbers = iter(range(number * 1000, number * 1000 + 1000))
    return _example(record, lambda: next(numbers))


def _example(record: type[Any], next_number: Any) -> Any:
    values: dict[str, Any] = {}
    for name, kind in field_types(record).items():
        kind = getattr(kind, "__supertype__", kind)  # a NewType's own
        number = next_number()
        if kind is str:
            values[name] = f"{name} {number}"
        elif kind is bool:
            values[name] = number % 2 == 1
        elif kind is int:
            values[name] = number
        elif kind is float:
            values[name] = number / 1e6
        elif kind is Resources:
            values[name] = _example(kind, next_number)
        elif get_origin(kind) is Mapping:
            values[name] = {f"key {number}": f"value {number}"}
        elif issubclass(kind, StrEnum):
            values[name] = list(kind)[number % len(kind)]
        else:
            raise AssertionError(f"{record.__name__}.{name} is a {kind}: say here what an example of it is")
    return record(**values)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_field_of_a_record_has_one_column(table: Table[Any]) -> None:
    assert sorted(column.source for column in table.columns) == sorted(paths(table.record))
    assert len({column.name for column in table.columns}) == len(table.columns)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@pytest.mark.parametrize("number", range(1, 5))
def test_record_with_a_value_of_its_own_in_every_field_comes_back_from_its_row(
    table: Table[Any], number: int
) -> None:
    record = example(table.record, number)
    again = table.parse(table.row(record))
    assert again == record
    for path in paths(table.record):
        name, _, part = path.partition(".")
        before, after = getattr(record, name), getattr(again, name)
        assert type(getattr(after, part) if part else after) is type(
            getattr(before, part) if part else before
        )


def test_figures_that_sqlite_keeps_in_another_way_match_their_checksum(tmp_path: Path) -> None:
    # A negative zero comes back as zero, a whole number in a column of fractions as a fraction.
    resources = Resources(cpu_utilization=-0.0, memory_utilization=1)
    worker = replace(stored(1), resources=resources)
    database = Database(tmp_path / "registry.db")
    database.write([Change(worker.worker_id, worker, 1)])
    assert database.snapshot().workers == (worker,)
    database.close()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_row_of_which_any_value_was_changed_does_not_match_its_checksum(table: Table[Any]) -> None:
    row = list(table.row(example(table.record, 1)))
    for index, value in enumerate(row):
        changed = [
            *row[:index],
            value + 1 if isinstance(value, int | float) else f"{value} ",
            *row[index + 1 :],
        ]
        with pytest.raises((ValueError, InvalidError)):
            table.parse(changed)
