"""Files of a device, read and changed by whoever may: the login, or root where sudo asks for no password."""

from typing import TypeVar

from infrastructor.command import Command
from infrastructor.domains.configs.file_commands import (
    ABSENT,
    CLASH,
    DENIED,
    NO_FILE,
    Done,
    MakeFolder,
    MoveFile,
    ReadFile,
    Refused,
    RemoteFile,
    RemoveFile,
    Unlike,
    WriteFile,
)
from infrastructor.domains.configs.judged_change import Judged, JudgedChange
from infrastructor.errors import CommandFailed, Conflict, InfrastructorError, PermissionDenied, ValidationFailed
from infrastructor.operation import Context

T = TypeVar("T")

FILE_COMMANDS = (ReadFile, WriteFile, RemoveFile, MoveFile, MakeFolder)
"""What an operation that changes files declares among its commands."""


async def read_file(ctx: Context, path: str, *, within: str = "") -> RemoteFile:
    """Raises `ValidationFailed` for what is no file, `PermissionDenied` where neither login nor root may read it."""
    answer = await _as_who_may(ctx, ReadFile(path, within))
    if isinstance(answer, Refused):
        raise refusal(ctx, path, "read", answer)
    return answer


async def write_file(
    ctx: Context,
    path: str,
    content: bytes,
    *,
    expect: str,
    mode: int | None = None,
    owner: str = "",
    keep: str = "auto",
) -> Done:
    """Raises `Conflict` when the file is not what was expected; then nothing was written."""
    command = WriteFile(path, expect, content, mode, owner, keep)
    return _swapped(ctx, path, "written", expect, await _as_who_may(ctx, command))


async def remove_file(ctx: Context, path: str, *, expect: str) -> Done:
    return _swapped(ctx, path, "removed", expect, await _as_who_may(ctx, RemoveFile(path, expect)))


async def move_file(ctx: Context, path: str, target: str, *, expect: str) -> Done:
    return _swapped(ctx, path, "renamed", expect, await _as_who_may(ctx, MoveFile(path, expect, target)))


async def make_folder(ctx: Context, path: str, *, mode: int | None = None, owner: str = "") -> Done:
    return _swapped(ctx, path, "made", ABSENT, await _as_who_may(ctx, MakeFolder(path, mode, owner)))


async def run_judged(ctx: Context, command: JudgedChange) -> Judged:
    """Files changed, and judged by nginx. What could not be done raises as the command for one file does.

    Raises `Conflict`, `ValidationFailed`, `PermissionDenied`; then nothing was changed.
    """
    report = await ctx.run(command)
    if report.failed is not None and report.failed[1] == DENIED:
        capabilities = await ctx.links.capabilities(ctx.device)
        if not capabilities.is_root and capabilities.sudo == "nopasswd":
            report = await ctx.run(command.as_root())
    if report.failed is None or report.left:
        return report
    number, code, reason = report.failed
    kind, path, expect, *_ = command.steps[8 * number :]
    verb = _VERBS[kind]
    if code == CLASH:
        raise unlike(ctx, path, verb, expect, reason)
    if code in {DENIED, NO_FILE}:
        raise refusal(ctx, path, verb, Refused(reason=reason, denied=code == DENIED))
    raise CommandFailed(
        f"{path} on {ctx.device.hostname} was not {verb}: {reason or f'status {code}'}. Everything was put back."
    )


_VERBS = {"put": "written", "move": "renamed", "remove": "removed"}


async def _as_who_may(ctx: Context, command: Command[T | Refused]) -> T | Refused:
    """As the login, and where that is denied as root. A refusal changed nothing, so it may be tried again."""
    answer = await ctx.run(command)
    if isinstance(answer, Refused) and answer.denied:
        capabilities = await ctx.links.capabilities(ctx.device)
        if not capabilities.is_root and capabilities.sudo == "nopasswd":
            return await ctx.run(command.as_root())
    return answer


def _swapped(ctx: Context, path: str, verb: str, expect: str, answer: Done | Unlike | Refused) -> Done:
    if isinstance(answer, Refused):
        raise refusal(ctx, path, verb, answer)
    if isinstance(answer, Done):
        return answer
    raise unlike(ctx, path, verb, expect, answer.sha256)


def unlike(ctx: Context, path: str, verb: str, expect: str, sha256: str) -> Conflict:
    return Conflict(
        f"{path} on {ctx.device.hostname} was not {verb}: it is {_named(sha256)}, not {_named(expect)}.",
        hint="Somebody else changed it meanwhile. Read it again, and decide on what is there now.",
    )


def refusal(ctx: Context, path: str, verb: str, answer: Refused) -> InfrastructorError:
    what = f"{path} on {ctx.device.hostname} cannot be {verb}: {answer.reason}."
    if answer.denied:
        hint = "Give the login the right, or sudo without a password; or make room there."
        return PermissionDenied(what, hint=hint)
    return ValidationFailed(what, hint="Name a regular file.")


def _named(sha256: str) -> str:
    return "not there" if sha256 == ABSENT else f"version {sha256[:12]}"
