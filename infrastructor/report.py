"""Gathers `HealthReport`: asks each part how it is, none for longer than a moment."""

import asyncio
import resource
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from infrastructor.errors import InfrastructorError
from infrastructor.events import EventBus
from infrastructor.health import HealthReport, PartHealth, State
from infrastructor.ports.audit import AuditLog
from infrastructor.ports.devices import DeviceRegistry
from infrastructor.ports.ssh import SSHClient
from infrastructor.scheduler import Scheduler
from infrastructor.version import installed_version
from infrastructor.watchers.fleet import Watchers

_PATIENCE_S = 1.0


class Pinged(Protocol):
    """The database, as far as health goes."""

    async def fetchval(self, query: str) -> Any: ...


class Cache(Protocol):
    """The cache, as far as health goes."""

    def statistics(self) -> Mapping[str, Any]: ...

    async def redis_info(self) -> Mapping[str, Any] | None: ...


@dataclass(frozen=True, kw_only=True)
class HealthSource:
    """The parts that are asked."""

    database: Pinged
    audit: AuditLog
    cache: Cache
    ssh: SSHClient
    devices: DeviceRegistry
    scheduler: Scheduler
    watchers: Watchers
    config_watchers: Watchers
    zfs_watchers: Watchers
    events: EventBus
    started: float = field(default_factory=monotonic)

    async def report(self) -> HealthReport:
        """Down when reads cannot be recorded; degraded when anything is worse than it should be."""
        database, cache = await asyncio.gather(self._database(), self._cache())
        services = {
            "database": database,
            "audit": self._audit(),
            "cache": cache,
            "ssh": await self._ssh(),
            "scheduler": self._scheduler(),
            "events": self._events(),
            "watchers": self._watchers(self.watchers),
            "config_watchers": self._watchers(self.config_watchers),
            "zfs_watchers": self._watchers(self.zfs_watchers),
        }
        worst: State = "ok"
        if services["audit"].state == "down":
            worst = "down"
        elif any(part.state != "ok" for part in services.values()):
            worst = "degraded"
        return HealthReport(
            status=worst,
            timestamp=datetime.now(UTC),
            version=installed_version(),
            uptime_seconds=round(monotonic() - self.started, 1),
            services=services,
            metrics={
                "cache_hit_ratio": cache.facts.get("hit_ratio"),
                "active_connections": services["ssh"].facts.get("links", {}).get("ready", 0),
                "memory_bytes": _resident_bytes(),
                "cpu_seconds": _cpu_seconds(),
            },
        )

    async def _database(self) -> PartHealth:
        started = monotonic()
        try:
            await _soon(self.database.fetchval("SELECT 1"))
        except (InfrastructorError, TimeoutError) as error:
            message = error.message if isinstance(error, InfrastructorError) else "It does not answer."
            return PartHealth(state="down", message=f"{message} Reads go on, changes are refused.")
        return PartHealth(state="ok", facts={"response_ms": round((monotonic() - started) * 1000, 2)})

    def _audit(self) -> PartHealth:
        facts = dict(self.audit.statistics())
        match facts.get("state"):
            case "ok":
                return PartHealth(state="ok", facts=facts)
            case "spooling":
                return PartHealth(state="degraded", message="Records go to the spool on disk.", facts=facts)
        return PartHealth(
            state="down", message="Neither PostgreSQL nor the spool takes records; nothing is run.", facts=facts
        )

    async def _cache(self) -> PartHealth:
        try:
            info = await _soon(self.cache.redis_info())
        except TimeoutError:
            info = None
        facts = dict(self.cache.statistics())
        if info is None:
            return PartHealth(state="degraded", message="It does not answer; everything works without.", facts=facts)
        return PartHealth(state="ok", facts=facts | dict(info))

    async def _ssh(self) -> PartHealth:
        facts = dict(self.ssh.statistics())
        unwell = [
            f"{device.hostname}: {status.reason}"
            for device in await self.devices.all()
            if (status := self.ssh.status(device.id)).reason is not None
        ]
        if not unwell:
            return PartHealth(state="ok", facts=facts)
        shown = ", ".join(unwell[:10]) + (f" and {len(unwell) - 10} more" if len(unwell) > 10 else "")  # noqa: PLR2004
        return PartHealth(state="degraded", message=f"Not reachable: {shown}.", facts=facts)

    def _events(self) -> PartHealth:
        facts = dict(self.events.statistics())
        if facts.get("state") == "ok":
            return PartHealth(state="ok", facts=facts)
        return PartHealth(state="degraded", message="Events wait in memory for PostgreSQL.", facts=facts)

    def _watchers(self, watchers: Watchers) -> PartHealth:
        """A device that is away is the business of `ssh`; here it only shows."""
        return PartHealth(state="ok", facts=dict(watchers.statistics()))

    def _scheduler(self) -> PartHealth:
        facts = {
            job.name: {
                "runs": job.runs,
                "last_finished": job.last_finished.isoformat() if job.last_finished else None,
                "last_duration_seconds": job.last_duration_s,
            }
            for job in self.scheduler.jobs
        }
        failing = [f"{job.name}: {job.last_error}" for job in self.scheduler.jobs if job.last_error]
        return PartHealth(state="degraded" if failing else "ok", message="; ".join(failing), facts=facts)


async def _soon(question: Awaitable[Any]) -> Any:
    """The answer, or `TimeoutError`; a question that will not be cancelled is left behind."""
    task = asyncio.ensure_future(question)
    done, _ = await asyncio.wait({task}, timeout=_PATIENCE_S)
    if not done:
        task.cancel()
        raise TimeoutError
    return task.result()


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return round(usage.ru_utime + usage.ru_stime, 2)
