"""Which containers are listed, in which order and words. Pure."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from infrastructor.domains.containers.models import ContainerRow
from infrastructor.domains.containers.rows import SHORT_ID, Row, short_image, short_ports
from infrastructor.sanitize import clean

_PROBLEMS_SHOWN = 30
_STATUS = 120
_ASKED_TO_STOP = frozenset({0, 130, 143})  # well, or by SIGINT or SIGTERM: `docker stop` on what does not catch it
_NOT_WELL = {"restarting": "keeps restarting", "dead": "is dead", "unhealthy": "is unhealthy", "paused": "is paused"}


def matching(rows: Iterable[Row], *, state: str, name: str | None, stack: str | None, label: str | None) -> list[Row]:
    """The rows that match every filter, those with problems first, then by name."""
    key, sign, value = (label or "").partition("=")
    found = [
        row
        for row in rows
        if (state == "all" or state in (row.state, row.condition) or (state == "problem" and problem(row) is not None))
        and (name is None or name.lower() in row.name.lower())
        and (stack is None or row.stack == stack)
        and (label is None or (key in (row.labels or {}) and (not sign or (row.labels or {})[key] == value)))
    ]
    return sorted(found, key=lambda row: (problem(row) is None, row.name))


def problem(row: Row) -> str | None:
    """What is wrong with a container as far as a list tells, in words; None when nothing is."""
    if row.state == "exited" and row.exit_code is not None and row.exit_code not in _ASKED_TO_STOP:
        words = f"exited with code {row.exit_code}"
    elif row.condition in _NOT_WELL:
        words = _NOT_WELL[row.condition]
    else:
        return None
    since = clean(row.status, _STATUS)
    return f"{row.name} {words} ({since})" if since else f"{row.name} {words}"


def problems(rows: Iterable[Row]) -> list[str]:
    """All of them, and a count of those that are too many to show."""
    found = [text for row in rows if (text := problem(row)) is not None]
    more = len(found) - _PROBLEMS_SHOWN
    return found if more <= 0 else [*found[:_PROBLEMS_SHOWN], f"and {more} more; ask with state=problem"]


def counts(rows: Iterable[Row]) -> dict[str, int]:
    return dict(Counter(row.condition for row in rows).most_common())


def shown(row: Row, *, detail: bool) -> ContainerRow:
    if not detail:
        return ContainerRow(
            name=row.name,
            image=short_image(row.image),
            state=row.condition,
            ports=short_ports(row.ports),
            stack=row.stack,
        )
    return ContainerRow(
        name=row.name,
        image=row.image,
        state=row.condition,
        ports=short_ports(row.ports),
        stack=row.stack,
        service=row.service,
        id=row.id[:SHORT_ID],
        status=clean(row.status, _STATUS),
        created_at=None if row.created_s is None else datetime.fromtimestamp(row.created_s, UTC),
        networks=list(row.networks),
        pod=row.pod,
    )
