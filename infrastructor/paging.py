"""Long lists in pages: a cursor is the offset of the next row."""

from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import Field, StringConstraints

T = TypeVar("T")

Limit = Annotated[int, Field(ge=1, le=500, description="Rows at most.")]
Cursor = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{1,9}$"), Field(description="next_cursor of the previous answer.")
]


def page(rows: Sequence[T], limit: int, cursor: str | None) -> tuple[list[T], str | None]:
    """The rows of one page, and the cursor of the next or None."""
    start = int(cursor or 0)
    end = start + limit
    return list(rows[start:end]), str(end) if end < len(rows) else None
