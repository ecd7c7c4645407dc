"""The composition root: settings → stores → ports → service. The only module that sees concrete drivers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from infrastructor.attach import attached_stores
from infrastructor.cache.redis import RedisCacheManager
from infrastructor.cache.secret import load_secret
from infrastructor.catalog import CATALOG, COMPLETIONS
from infrastructor.completion import Source
from infrastructor.errors import Conflict
from infrastructor.formats.secrets import Masker
from infrastructor.health import HealthReport
from infrastructor.ids import uuid7
from infrastructor.memory import settle
from infrastructor.ports.callers import Interface
from infrastructor.ports.devices import Device, DeviceRegistry, Transport
from infrastructor.report import HealthSource
from infrastructor.scheduler import (
    Scheduler,
    collect_containers,
    collect_drives,
    collect_metrics,
    discover_configs,
    recover_deployments,
)
from infrastructor.service import UnifiedDataCollectionService
from infrastructor.settings import Settings
from infrastructor.snapshot_store import History
from infrastructor.ssh.client import AsyncSSHClient
from infrastructor.storage import migrate
from infrastructor.storage.audit import PostgresAuditLog
from infrastructor.storage.baselines import PostgresBaselineStore
from infrastructor.storage.cancels import PostgresCancelRequests
from infrastructor.storage.containers import PostgresContainerStore
from infrastructor.storage.deployments import PostgresDeploymentStore
from infrastructor.storage.devices import PostgresDeviceRegistry
from infrastructor.storage.drives import PostgresDriveStore
from infrastructor.storage.events import PostgresEventBus
from infrastructor.storage.keys import Keyring, keys_path
from infrastructor.storage.metrics import PostgresMetricStore
from infrastructor.storage.plans import PostgresPlanStore
from infrastructor.storage.pool import Database
from infrastructor.storage.retention import apply_retention
from infrastructor.storage.snapshots import PostgresSnapshotStore
from infrastructor.storage.tokens import PostgresTokenStore
from infrastructor.storage.watches import PostgresWatchStore
from infrastructor.tokens import Tokens, ensure_admin_token
from infrastructor.watchers.configs import config_watchers
from infrastructor.watchers.containers import ContainerWatcher
from infrastructor.watchers.discovery import Discoverer
from infrastructor.watchers.fleet import Watchers
from infrastructor.watchers.listing import CONTAINER_ANSWERS, list_containers
from infrastructor.watchers.zfs import zfs_watchers

logger = logging.getLogger(__name__)

LOCAL_DEVICE = "local"
_RETENTION_EVERY_S = 6 * 3600.0
_RECOVERY_EVERY_S = 30.0
_SETTLE_EVERY_S = 3600.0


class Runner(Protocol):
    """What goes on until cancelled."""

    async def run(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Application:
    """Everything a door needs."""

    settings: Settings
    service: UnifiedDataCollectionService
    tokens: Tokens
    health: Callable[[], Awaitable[HealthReport]]
    completions: Mapping[str, Source] = field(default_factory=dict)
    """What may be typed for a parameter, by the name its field gives."""
    confirm_key: bytes | None = None
    """Seals confirmations under way between the rounds of a question; None: with a key of this process alone."""
    collect: Callable[[], Awaitable[None]] | None = None
    """Runs the scheduled jobs until cancelled; only processes that collect call it."""


@asynccontextmanager
async def open_application(settings: Settings) -> AsyncIterator[Application]:
    """Open every store and driver, and close them again in the right order.

    Raises `DatabaseOperationError` when PostgreSQL cannot be reached: without it nothing starts.
    """
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(attached_stores(settings))
        await migrate.upgrade(stores.database_url)
        database = await Database.connect(stores.database_url)
        stack.push_async_callback(database.close)

        devices = PostgresDeviceRegistry(database)
        audit = PostgresAuditLog(database, spool_dir=settings.data_dir / "spool")
        metrics = PostgresMetricStore(database)
        events = PostgresEventBus(database)
        containers = PostgresContainerStore(database)
        token_store = PostgresTokenStore(database)
        snapshots = PostgresSnapshotStore(database, Keyring(database, keys_path(settings)))
        watches = PostgresWatchStore(database)
        for part in (devices, token_store, metrics, events, containers, audit):
            await part.start()
            stack.push_async_callback(part.close)
        cache = RedisCacheManager(stores.redis_url, secret=load_secret(settings.data_dir))
        stack.push_async_callback(cache.close)
        ssh = AsyncSSHClient(settings, devices.find)
        stack.push_async_callback(ssh.close)
        cancels = PostgresCancelRequests(database)
        stack.push_async_callback(cancels.close)

        service = UnifiedDataCollectionService(
            operations=CATALOG,
            devices=devices,
            ssh=ssh,
            cache=cache,
            audit=audit,
            metrics=metrics,
            plans=PostgresPlanStore(database),
            events=events,
            containers=containers,
            drives=PostgresDriveStore(database),
            history=History(
                snapshots=snapshots,
                watches=watches,
                baselines=PostgresBaselineStore(database),
                masker=Masker(load_secret(settings.data_dir, "fingerprints")),
            ),
            deployments=PostgresDeploymentStore(database),
            cancels=cancels,
            read_only=settings.read_only,
            opted_in=(Interface.MCP,) if settings.mcp_exec else (),
            human_approval=settings.destroy_approval == "human",
        )
        await cancels.follow(service.runs.heed)
        stack.push_async_callback(service.drain)
        tokens = Tokens(token_store)
        await ensure_admin_token(tokens, settings.data_dir)
        await register_this_machine(devices)
        scheduler = Scheduler()
        scheduler.every(settings.metrics_interval_s, "metrics", partial(collect_metrics, service))
        scheduler.every(settings.containers_interval_s, "containers", partial(collect_containers, service))
        scheduler.every(settings.drives_interval_s, "drives", partial(collect_drives, service))
        scheduler.every(_RECOVERY_EVERY_S, "deployments", partial(recover_deployments, service))
        scheduler.every(_RETENTION_EVERY_S, "retention", partial(_apply_retention, database, settings))
        scheduler.every(_SETTLE_EVERY_S, "memory", _settle)

        discoverer = Discoverer(devices, partial(discover_configs, service))

        async def outdate(device: Device) -> None:
            discoverer.touch(device)
            await service.outdate(device.id, CONTAINER_ANSWERS)

        def watch(device: Device, _: None, connecting: asyncio.Semaphore) -> ContainerWatcher:
            return ContainerWatcher(
                device,
                ssh=ssh,
                bus=events,
                store=containers,
                list_containers=partial(list_containers, ssh),
                outdate=outdate,
                connecting=connecting,
            )

        watchers = Watchers(operation="container_watch", devices=devices, audit=audit, watch=watch)
        zfs = zfs_watchers(devices=devices, audit=audit, ssh=ssh, bus=events, outdate=service.outdate)
        configs = config_watchers(
            settings,
            devices=devices,
            audit=audit,
            ssh=ssh,
            snapshots=snapshots,
            watches=watches,
        )
        wanted: list[Runner] = [
            scheduler,
            *([watchers] if settings.watch_containers else []),
            *([zfs] if settings.watch_zfs else []),
            *([configs] if settings.watch_configs else []),
            *([discoverer] if settings.watch_configs and settings.discover_configs else []),
        ]
        yield Application(
            settings=settings,
            service=service,
            tokens=tokens,
            health=HealthSource(
                database=database,
                audit=audit,
                cache=cache,
                ssh=ssh,
                devices=devices,
                scheduler=scheduler,
                watchers=watchers,
                config_watchers=configs,
                zfs_watchers=zfs,
                events=events,
            ).report,
            completions=COMPLETIONS,
            confirm_key=load_secret(settings.data_dir, "confirm"),
            collect=partial(_collect, wanted),
        )


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[str]:
    """The database alone, for `migrate`: its DSN while it is open."""
    async with attached_stores(settings) as stores:
        yield stores.database_url


async def register_this_machine(devices: DeviceRegistry) -> None:
    """The first start registers the machine it runs on; one that was removed later stays removed."""
    if await devices.all():
        return
    now = datetime.now(UTC)
    local = Device(
        id=uuid7(),
        hostname=LOCAL_DEVICE,
        description="The machine Infrastructor runs on.",
        transport=Transport.LOCAL,
        created_at=now,
        updated_at=now,
    )
    try:
        await devices.add(local)
    except Conflict:
        logger.info("Another process registered this machine")


async def _collect(runners: Sequence[Runner]) -> None:
    async with asyncio.TaskGroup() as group:
        for each in runners:
            group.create_task(each.run())


async def _settle() -> None:
    settle()


async def _apply_retention(database: Database, settings: Settings) -> None:
    await apply_retention(database, settings)
