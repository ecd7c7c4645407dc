"""Long lists in pages: a cursor is the offset of the next row."""

from collections.abc import Iterable, Sequence
from typing import Annotated, TypeVar

from pydantic import BaseModel, Field, StringConstraints
from pydantic_core import to_json

from infrastructor.operation import PLAIN

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

ROWS_BUDGET = 34_000
"""Characters of rows in one answer; with what surrounds them they stay below the 40,000 that assistants take."""

Limit = Annotated[int, Field(ge=1, le=500, description="Rows at most.", json_schema_extra=PLAIN)]
Cursor = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{1,9}$"), Field(description="next_cursor of the last answer.")
]


def page(rows: Sequence[T], limit: int, cursor: str | None) -> tuple[list[T], str | None]:
    """The rows of one page, and the cursor of the next or None."""
    start = int(cursor or 0)
    end = start + limit
    return list(rows[start:end]), str(end) if end < len(rows) else None


def page_within(
    rows: Sequence[M], limit: int, cursor: str | None, budget: int = ROWS_BUDGET
) -> tuple[list[M], str | None]:
    """Like `page`, but the page also ends before its rows have more than `budget` characters of JSON."""
    start = int(cursor or 0)
    chosen = fitting(rows[start : start + limit], budget, least=1)
    end = start + len(chosen)
    return chosen, str(end) if end < len(rows) else None


def fitting(rows: Sequence[T], budget: int, *, least: int = 0) -> list[T]:
    """The first rows that have no more than `budget` characters of JSON together, at least so many of them."""
    size = 0
    for count, row in enumerate(rows):
        size += _size(row)
        if size > budget and count >= least:
            return list(rows[:count])
    return list(rows)


def characters(rows: Iterable[object]) -> int:
    """How many characters of JSON rows have."""
    return sum(_size(row) for row in rows)


def _size(row: object) -> int:
    return len(to_json(row)) + 1
