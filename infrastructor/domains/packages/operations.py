"""Operations on packages."""

import asyncio
from datetime import timedelta
from typing import Any

from infrastructor.domains.packages.commands import (
    ListApkUpdates,
    ListAptUpdates,
    ListDnfUpdates,
    ListPacmanUpdates,
)
from infrastructor.domains.packages.models import PackageUpdates
from infrastructor.domains.packages.reboot import ReadRebootState
from infrastructor.domains.packages.zypper import ListZypperUpdates
from infrastructor.errors import CommandNotAvailable
from infrastructor.operation import Cache, CachedParams, Context, Operation, operation
from infrastructor.paging import Cursor, Limit, page_within
from infrastructor.ports.callers import Effect

_MANAGERS = frozenset({"apt-get", "dnf", "yum", "apk", "pacman", "zypper"})


class PackageUpdatesParams(CachedParams):
    """Input of package_updates."""

    limit: Limit = 50
    cursor: Cursor | None = None


@operation(
    name="package_updates",
    effect=Effect.READ,
    route="GET /api/system/{device}/packages/updates",
    resource_uri="device://{device}/packages/updates",
    cache=Cache("packages", timedelta(minutes=15)),
    commands=(
        ListAptUpdates, ListDnfUpdates, ListZypperUpdates, ListApkUpdates, ListPacmanUpdates, ReadRebootState,
    ),
)  # fmt: skip
async def package_updates(ctx: Context, params: PackageUpdatesParams) -> PackageUpdates:
    """List pending updates, security first, and whether a reboot is due. No list is refreshed."""
    name = ctx.device.hostname
    if not (await ctx.links.capabilities(ctx.device)).tools & _MANAGERS:
        raise CommandNotAvailable(
            f"{name} has no package manager that is known here: no apt, dnf, yum, zypper, apk or pacman.",
            hint="Firmware and appliance systems are updated as a whole, by their own means.",
        )
    pending, reboot = await asyncio.gather(ctx.run(ListAptUpdates()), ctx.run(ReadRebootState()))
    updates = sorted(pending.updates, key=lambda update: (not update.security, update.name))
    rows, next_cursor = page_within(updates, params.limit, params.cursor)
    unknown = any(update.security is None for update in updates)
    age = None if pending.lists_at is None or pending.now is None else max(0, pending.now - pending.lists_at)
    return PackageUpdates(
        device=name,
        manager=pending.manager,
        total=len(updates),
        security_total=None if unknown else sum(1 for update in updates if update.security),
        updates=rows,
        held=list(pending.held),
        lists_age_seconds=age,
        reboot_required=reboot.required,
        reboot_reasons=list(reboot.reasons),
        next_cursor=next_cursor,
    )


OPERATIONS: tuple[Operation[Any, Any], ...] = (package_updates,)
