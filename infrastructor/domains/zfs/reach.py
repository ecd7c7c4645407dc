"""Asking ZFS on a device, with errors that say which of many things is wrong.

What a ZFS program says when it fails changes between versions, so the cause is looked up, not read from its words.
"""

from difflib import get_close_matches
from typing import TypeVar

from infrastructor.command import Command
from infrastructor.domains.zfs.commands import ExamineZfs, InTwoForms, ZfsAccess, prints_json
from infrastructor.errors import (
    CommandFailed,
    CommandNotAvailable,
    InfrastructorError,
    NotFound,
    ParseError,
    ZfsForbidden,
    ZfsNotLoaded,
)
from infrastructor.operation import Context

T = TypeVar("T")

_SHOWN = 10


async def asked(ctx: Context, command: Command[T], name: str | None = None, *, privileged: bool = False) -> T:
    """Run a command about the thing of this name; as root where only root may and the login can become root.

    `privileged` tells that ZFS gives it to root alone, so that it is tried as root first.

    Raises `CommandNotAvailable` (no ZFS programs), `ZfsNotLoaded`, `ZfsForbidden`, `NotFound` with near names; and
    `CommandFailed` for anything else, with what the program said.
    """
    if privileged and await may_become_root(ctx):
        try:
            return await ran(ctx, command.as_root())
        except CommandNotAvailable as error:
            if error.details.get("program") != "sudo":
                raise
        except CommandFailed as error:
            raise explained(ctx, error, await ctx.run(ExamineZfs(name)), name) from error
    try:
        return await ran(ctx, command)
    except CommandFailed as error:
        access = await ctx.run(ExamineZfs(name))
        if access.module and access.device_file == "closed" and await may_become_root(ctx):
            return await _as_root(ctx, command, error, access, name)
        cause = explained(ctx, error, access, name)
        if cause is error and privileged and not (await ctx.links.capabilities(ctx.device)).is_root:
            cause = ZfsForbidden(f"On {ctx.device.hostname} this is for root, and the login is not: {error.message}")
        raise cause from error


async def ran(ctx: Context, command: Command[T]) -> T:
    """Run it; once more as text where its JSON is broken."""
    try:
        return await ctx.run(command)
    except ParseError:
        if not isinstance(command, InTwoForms) or not prints_json(await ctx.links.capabilities(ctx.device)):
            raise
        return await ctx.run(command.as_text())


async def _as_root(ctx: Context, command: Command[T], error: CommandFailed, access: ZfsAccess, name: str | None) -> T:
    try:
        return await ran(ctx, command.as_root())
    except (CommandFailed, CommandNotAvailable) as second:
        raise explained(ctx, error, access, name) from second


def explained(ctx: Context, error: CommandFailed, access: ZfsAccess, name: str | None) -> InfrastructorError:
    """The error by its cause; the same one where nothing better is known."""
    device = ctx.device.hostname
    if access.module is None:
        return ZfsNotLoaded(f"{device} has the ZFS programs, but its kernel has not loaded the ZFS module.")
    if access.device_file == "missing":
        return ZfsForbidden(
            f"{device} has no /dev/zfs: it is a container, and the ZFS module belongs to the machine it runs on.",
            hint="Ask the machine that runs the container, or give the container /dev/zfs.",
        )
    if access.device_file == "closed":
        return ZfsForbidden(f"The login user may not open /dev/zfs on {device}.")
    if name is not None and access.has is False:
        pool = name.partition("/")[0].partition("@")[0]
        if pool not in access.pools:
            near = get_close_matches(pool, access.pools, n=5, cutoff=0.4) or list(access.pools[:_SHOWN])
            there = f"Its pools: {', '.join(near)}." if near else "It has no pool imported."
            return NotFound(f"{device} has no ZFS pool {pool!r}.", hint=there)
        return NotFound(
            f"{device} has no {name!r} in its pool {pool!r}.", hint="zfs_dataset_list and zfs_snapshot_list tell them."
        )
    return error


async def may_become_root(ctx: Context) -> bool:
    """Whether a command is worth trying with sudo."""
    capabilities = await ctx.links.capabilities(ctx.device)
    return not capabilities.is_root and capabilities.sudo in {"nopasswd", "limited"}
