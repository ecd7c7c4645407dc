"""Results for people: lists of objects as tables, objects as names and values, units made readable."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_UNKNOWN = "–"
_MOST_INLINE = 4
_LINE = 60
_PIPED_WIDTH = 240
_KIB = 1024
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def render(result: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a result: its plain values first, then a table for each list, then nested objects."""
    console = console or Console(highlight=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    plain = {name: value for name, value in result.items() if not _is_block(value)}
    if plain:
        console.print(_pairs(plain))
    for name, value in result.items():
        if not _is_block(value):
            continue
        console.print(Text(f"\n{_words(name)}" if plain else _words(name), style="bold"))
        if isinstance(value, Mapping):
            render(value, console)
        else:
            console.print(_table(value))
        plain = plain or {name: value}


def humane(name: str, value: Any) -> str:
    """A value as a person reads it, by the unit its name ends with."""
    if value is None:
        return _UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(name, value)
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(key)} {humane(key, inner)}" for key, inner in value.items()) or _UNKNOWN
    if isinstance(value, Sequence) and not isinstance(value, str):
        parts = [humane(name, inner) for inner in value]
        return ("\n" if sum(map(len, parts)) > _LINE else ", ").join(parts) or _UNKNOWN
    return str(value)


def _number(name: str, value: float) -> str:
    if name.endswith("bytes_per_second"):
        return f"{_bytes(value)}/s"
    if name.endswith("bytes"):
        return _bytes(value)
    if name.endswith("percent"):
        return f"{value:.1f} %"
    if name.endswith(("_seconds", "_s")):
        return _duration(value)
    if name.endswith("_celsius"):
        return f"{value:.0f} °C"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < _KIB:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _KIB
    return f"{value:.1f} PiB"


def _duration(value: float) -> str:
    if value < _MINUTE:
        return f"{value:g} s"
    if value < _HOUR:
        return f"{value // _MINUTE:.0f} min"
    if value < _DAY:
        return f"{value // _HOUR:.0f} h {value % _HOUR // _MINUTE:.0f} min"
    return f"{value // _DAY:.0f} d {value % _DAY // _HOUR:.0f} h"


def _is_block(value: Any) -> bool:
    """Whether a value needs lines of its own: a list of objects, or an object with more than a few plain values."""
    if isinstance(value, Mapping):
        nested = any(isinstance(inner, Mapping | list) for inner in value.values())
        return nested or len(value) > _MOST_INLINE
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _pairs(values: Mapping[str, Any]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for name, value in values.items():
        grid.add_row(Text(_words(name), style="dim"), Text(humane(name, value)))
    return grid


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One row an object. Columns that are unknown everywhere are left out."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    shown = [name for name in names if any(row.get(name) not in (None, [], {}, "") for row in rows)]
    table = Table(box=None, pad_edge=False, header_style="bold dim")
    for name in shown:
        numeric = all(isinstance(row.get(name), int | float | None) for row in rows)
        table.add_column(Text(_words(name)), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(humane(name, row.get(name))) for name in shown))
    return table


def _words(name: str) -> str:
    for unit in ("_bytes_per_second", "_bytes", "_percent", "_seconds", "_celsius"):
        name = name.removesuffix(unit)
    return name.replace("_", " ")
