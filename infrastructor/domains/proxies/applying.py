"""Changing files that nginx reads: it judges them before it loads them, and what it refuses is taken back.

Order: nginx must accept what is there; then, in one run on the device, the files are changed, each only if it is still
what was read, nginx judges all of it, its warnings too, and loads it. Whatever goes wrong after the first file, all of
them are put back there and nginx is asked again; where that run was stopped or killed in the middle, from here.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from infrastructor.domains.configs.file_commands import ABSENT
from infrastructor.domains.configs.files import FILE_COMMANDS, move_file, remove_file, run_judged, write_file
from infrastructor.domains.configs.judged_change import Judged, JudgedChange, joined, move, put, remove
from infrastructor.domains.containers.commands import engine_of
from infrastructor.domains.containers.reach import run
from infrastructor.domains.proxies.commands import CheckNginx, PodmanCheckNginx
from infrastructor.domains.proxies.history import announce
from infrastructor.domains.proxies.parsers import NginxMessage, NginxTest, parse_said
from infrastructor.domains.proxies.place import Place
from infrastructor.errors import (
    Cancelled,
    CommandFailed,
    CommandTimeout,
    Conflict,
    InfrastructorError,
    ParseError,
)
from infrastructor.operation import Context

APPLYING = (*FILE_COMMANDS, JudgedChange, CheckNginx, PodmanCheckNginx)
_SHOWN = 5


class Step(Protocol):
    """One change of one file. `path` is where nginx would find fault with it; `words` do it on the device."""

    @property
    def path(self) -> str: ...

    @property
    def words(self) -> tuple[str, ...]: ...

    async def undo(self, ctx: Context) -> None: ...

    @property
    def sides(self) -> tuple[tuple[str, bytes | None, bytes | None], ...]:
        """Path, content before and content after."""
        ...


@dataclass(frozen=True, kw_only=True)
class Put:
    """Write a file; `before` None: it must not be there."""

    path: str
    before: bytes | None
    after: bytes
    mode: int | None = None
    owner: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        return put(self.path, self.before, self.after, mode=self.mode, owner=self.owner)

    async def undo(self, ctx: Context) -> None:
        if self.before is None:
            await remove_file(ctx, self.path, expect=digest(self.after))
        else:
            await write_file(ctx, self.path, self.before, expect=digest(self.after))

    @property
    def sides(self) -> tuple[tuple[str, bytes | None, bytes | None], ...]:
        return ((self.path, self.before, self.after),)


@dataclass(frozen=True, kw_only=True)
class Move:
    """Give a file another name."""

    path: str
    target: str
    content: bytes

    @property
    def words(self) -> tuple[str, ...]:
        return move(self.path, self.target, self.content)

    async def undo(self, ctx: Context) -> None:
        await move_file(ctx, self.target, self.path, expect=digest(self.content))

    @property
    def sides(self) -> tuple[tuple[str, bytes | None, bytes | None], ...]:
        return ((self.path, self.content, None), (self.target, None, self.content))


@dataclass(frozen=True, kw_only=True)
class Remove:
    """Remove a file."""

    path: str
    before: bytes
    mode: int
    owner: str

    @property
    def words(self) -> tuple[str, ...]:
        return remove(self.path, self.before, mode=self.mode, owner=self.owner)

    async def undo(self, ctx: Context) -> None:
        await write_file(ctx, self.path, self.before, expect=ABSENT, mode=self.mode, owner=self.owner)

    @property
    def sides(self) -> tuple[tuple[str, bytes | None, bytes | None], ...]:
        return ((self.path, self.before, None),)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def carry_out(ctx: Context, place: Place, steps: Sequence[Step]) -> tuple[NginxMessage, ...]:
    """Make the changes and have nginx load them; its warnings. Raises `CommandFailed` when they were taken back."""
    container = require_nginx(ctx, place)
    before = await _judged(ctx, container)
    _check_before(ctx, place, before, steps)
    await announce(ctx, [side for step in steps for side in step.sides])
    command = JudgedChange(
        judge=engine_of(await ctx.links.capabilities(ctx.device)),
        container=container,
        reload="reload",
        known="\n".join(sorted({one.conflicting_name for one in before.messages if one.conflicting_name})),
        steps=joined([step.words for step in steps]),
    )
    await ctx.progress(1, 2, f"changing {', '.join(step.path for step in steps[:3])}")
    try:
        report = await run_judged(ctx, command)
    except (Cancelled, CommandFailed, CommandTimeout, ParseError) as error:
        await _take_back(ctx, container, steps, error)
        raise
    _check_outcome(ctx, place, report, before)
    await ctx.progress(2, 2, "nginx has loaded it")
    return parse_said(report.judged).warnings


def _check_outcome(ctx: Context, place: Place, report: Judged, before: NginxTest) -> None:
    """Raise what a run that did not end well means."""
    if report.left:
        raise CommandFailed(
            f"A change on {ctx.device.hostname} failed and could not be taken back: {'; '.join(report.left)}",
            hint="Look at these files; nginx has not loaded them, but would at its next start.",
        )
    if report.outcome == "done":
        return
    if report.outcome == "stopped":
        raise Cancelled(f"It was stopped before nginx had loaded it on {ctx.device.hostname}; all was put back.")
    error: CommandFailed
    if report.outcome == "not_loaded":
        said = "; ".join(one.text for one in parse_said(report.loaded).errors) or "nothing"
        error = CommandFailed(f"nginx accepted the files but did not reload: {said}. They were put back.")
    else:
        error = _refusal(ctx, place, _objections(before, parse_said(report.judged)))
    again = parse_said(report.again)
    if report.again is not None and before.passed and not again.passed:
        said = "; ".join(one.sentence for one in again.errors[:_SHOWN])
        raise CommandFailed(
            f"A change on {ctx.device.hostname} failed ({error}) and was taken back, but nginx now says: {said}",
            hint="Somebody else changed something meanwhile.",
        ) from error
    raise error


def require_nginx(ctx: Context, place: Place) -> str:
    """The id of SWAG's running container. Raises `Conflict` where there is nobody to judge a change."""
    if place.container is None:
        raise Conflict(
            f"No container of {ctx.device.hostname} has {place.folder} as /config, so nginx cannot judge a change.",
            hint=f"Is it running elsewhere? {place.unknown or 'container_list tells what runs here.'}",
        )
    status = place.container.state.status
    if status != "running":
        raise Conflict(
            f"{place.container.name} on {ctx.device.hostname} is {status}, so nginx cannot judge a change.",
            hint="Start it with container_start first.",
        )
    return place.container.id


async def _judged(ctx: Context, container: str) -> NginxTest:
    test = await run(ctx, CheckNginx(container=container))
    if test.passed is None:
        said = "; ".join(one.text for one in test.messages) or "nothing"
        raise CommandFailed(
            f"nginx could not be asked in that container on {ctx.device.hostname}: {said}.",
            hint="Without its judgement nothing is changed.",
        )
    return test


def _check_before(ctx: Context, place: Place, before: NginxTest, steps: Sequence[Step]) -> None:
    """A configuration that nginx refuses already can only be changed where it is refused."""
    touched = {path for step in steps for path, _, _ in step.sides}
    if before.passed or any(_on_device(place, one) in touched for one in before.errors):
        return
    said = "; ".join(one.sentence for one in before.errors[:_SHOWN])
    raise Conflict(
        f"nginx of {place.name} on {ctx.device.hostname} refuses its configuration as it is: {said}.",
        hint="Mend that first; it would not load anything new.",
    )


def _on_device(place: Place, message: NginxMessage) -> str | None:
    relative = place.relative(message.path or "")
    return None if relative is None else place.path(relative)


def _objections(before: NginxTest, after: NginxTest) -> list[NginxMessage]:
    """Errors, and names that now belong to two servers: one of them would never see a request."""
    if not after.passed:
        return list(after.errors) or [NginxMessage(level="emerg", text="it did not say why")]
    known = {one.conflicting_name for one in before.messages}
    return [one for one in after.warnings if one.conflicting_name and one.conflicting_name not in known]


def _refusal(ctx: Context, place: Place, objections: Sequence[NginxMessage]) -> CommandFailed:
    said = "; ".join(one.sentence for one in objections[:_SHOWN])
    return CommandFailed(
        f"nginx of {place.name} on {ctx.device.hostname} refuses it: {said}. Everything was put back.",
        hint="Change what it says, or what it conflicts with; nginx went on with what it had.",
        line=objections[0].line,
        path=objections[0].path,
    )


async def _take_back(ctx: Context, container: str, steps: Sequence[Step], error: InfrastructorError) -> None:
    """Undo, last first, what was done of it: nobody knows how far it came. Raises when that failed."""
    left: list[str] = []
    for step in reversed(steps):
        try:
            with suppress(Conflict):  # it is not what it would be: not done, or put back already
                await step.undo(ctx)
        except InfrastructorError as failure:
            left.append(f"{step.path}: {failure.message}")
    if left:
        raise CommandFailed(
            f"A change on {ctx.device.hostname} failed ({error}) and could not be taken back: {'; '.join(left)}",
            hint="Look at these files; nginx has not loaded them, but would at its next start.",
        ) from error
    again = await _judged(ctx, container)
    if not again.passed:
        said = "; ".join(one.sentence for one in again.errors[:_SHOWN])
        raise CommandFailed(
            f"A change on {ctx.device.hostname} failed ({error}) and was taken back, but nginx now says: {said}",
            hint="Somebody else changed something meanwhile.",
        ) from error
