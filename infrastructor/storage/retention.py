"""How long rows stay, and the partitions that make letting them go cheap."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from infrastructor.errors import DatabaseOperationError
from infrastructor.settings import Settings
from infrastructor.storage import sql
from infrastructor.storage.cancels import SQL as CANCELS
from infrastructor.storage.containers import SQL as CONTAINERS
from infrastructor.storage.drives import SQL as DRIVES
from infrastructor.storage.plans import SQL as PLANS
from infrastructor.storage.pool import Database, sqlstate_of
from infrastructor.storage.sweep import sweep

logger = logging.getLogger(__name__)

SQL = sql.load("retention")

#: None keeps for ever. Settings may say otherwise, and have what the founding document did not know.
RETENTION_POLICIES: dict[str, timedelta | None] = {
    "system_metrics": timedelta(days=90),
    "container_snapshots": timedelta(days=30),
    "data_collection_audit": timedelta(days=365),
    "configuration_snapshots": None,
}

ROLL_UP_AFTER = timedelta(hours=2)  # samples may wait that long for a PostgreSQL that is away
ROLL_UP_TIMEOUT_S = 120.0
LOCK_TIMEOUT = "2s"  # rather try again tomorrow than stop every writer
DUPLICATE_TABLE, CHECK_VIOLATION, LOCK_NOT_AVAILABLE = "42P07", "23514", "55P03"

Step = Callable[[date], tuple[date, date]]


@dataclass(kw_only=True)
class RetentionReport:
    """Names of the partitions that were made and dropped."""

    created: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


async def apply_retention(database: Database, settings: Settings, now: datetime | None = None) -> RetentionReport:
    """Drop partitions whose last row is past its time and make those of the coming weeks. Run it daily.

    Safe from several servers at once. Raises `DatabaseOperationError` when PostgreSQL is away.
    """
    now = now or datetime.now(UTC)
    report = RetentionReport()
    await database.execute(CONTAINERS["roll_up"], now - ROLL_UP_AFTER, timeout=ROLL_UP_TIMEOUT_S)
    for table, step, ahead, keep in (
        ("data_collection_audit", month_of, timedelta(days=62), settings.retention_audit),
        ("system_metrics", week_of, timedelta(days=28), settings.retention_metrics),
        ("events", week_of, timedelta(days=28), settings.retention_events),
        ("container_snapshots", week_of, timedelta(days=28), settings.retention_containers),
        ("container_samples", day_of, timedelta(days=7), settings.retention_containers),
        ("container_samples_hourly", month_of, timedelta(days=62), settings.retention_container_hours),
    ):
        for first, end in spans(step, now.date(), (now + ahead).date()):
            if await _create(database, table, first, end):
                report.created.append(partition_name(table, first))
        report.dropped += await _drop_expired(database, table, step, now - keep)
    await _forget_strays(database, now, settings)
    await database.execute(PLANS["forget"])
    await database.execute(DRIVES["forget"], now - settings.retention_drives)
    await database.execute(CANCELS["forget"])
    await sweep(database)
    if report.created or report.dropped:
        logger.info("applied retention", extra={"made": report.created, "dropped": report.dropped})
    return report


def day_of(day: date) -> tuple[date, date]:
    """The day and the next one."""
    return day, day + timedelta(days=1)


def month_of(day: date) -> tuple[date, date]:
    """First day of the month and of the next one."""
    first = day.replace(day=1)
    return first, (first + timedelta(days=32)).replace(day=1)


def week_of(day: date) -> tuple[date, date]:
    """Monday of the week and of the next one."""
    first = day - timedelta(days=day.weekday())
    return first, first + timedelta(days=7)


def spans(step: Step, start: date, until: date) -> Iterator[tuple[date, date]]:
    """Consecutive spans that cover both days and everything between."""
    first, end = step(start)
    while first <= until:
        yield first, end
        first, end = step(end)


def partition_name(table: str, first: date) -> str:
    return f"{table}_{first:%Y%m%d}"


async def _create(database: Database, table: str, first: date, end: date) -> bool:
    try:
        return bool(await database.fetchval(SQL["create"], table, first, end))
    except DatabaseOperationError as error:
        state = sqlstate_of(error)
        if state == CHECK_VIOLATION:  # the default partition holds rows of that span already, and keeps taking them
            logger.warning("could not make a partition", extra={"table": table, "error": error.message})
        elif state != DUPLICATE_TABLE:  # another server was faster
            raise
        return False


async def _drop_expired(database: Database, table: str, step: Step, cutoff: datetime) -> list[str]:
    dropped = []
    for row in await database.fetch(SQL["partitions"], table):
        first = _first_day(table, row["name"])
        if first is None or step(first)[1] > cutoff.date():
            continue
        try:
            await _drop(database, row["name"])
        except DatabaseOperationError as error:
            # XX000 is what PostgreSQL says when another server drops the partition at the same moment.
            if sqlstate_of(error) not in {LOCK_NOT_AVAILABLE, "XX000"}:
                raise
            logger.info("a partition is in use, left for later", extra={"partition": row["name"]})
            continue
        dropped.append(row["name"])
    return dropped


async def _drop(database: Database, partition: str, then: str = "") -> None:
    # Names come from pg_class and match table_YYYYMMDD or table_default: nothing to quote.
    # Several statements in one message are one transaction.
    await database.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; DROP TABLE IF EXISTS {partition}; {then}")


async def _forget_strays(database: Database, now: datetime, settings: Settings) -> None:
    await database.execute(SQL["stray_metrics"], now - settings.retention_metrics)
    await database.execute(SQL["stray_events"], now - settings.retention_events)
    await database.execute(SQL["stray_snapshots"], now - settings.retention_containers)
    await database.execute(SQL["stray_samples"], now - settings.retention_containers)
    await database.execute(SQL["stray_hours"], now - settings.retention_container_hours)
    await database.execute(CONTAINERS["forget"], now - settings.retention_container_hours)
    if await database.fetchval(SQL["stray_audit"], now - settings.retention_audit):
        await _drop(
            database,
            "data_collection_audit_default",
            "CREATE TABLE data_collection_audit_default PARTITION OF data_collection_audit DEFAULT; "
            "SELECT infrastructor_guard_audit('data_collection_audit_default');",
        )


def _first_day(table: str, partition: str) -> date | None:
    suffix = partition.removeprefix(f"{table}_")
    try:
        return datetime.strptime(suffix, "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None
