"""Carrying a plan out: journal, the one detached run on the device, progress, and the true outcome whatever happens.

What the run does is in `deploy_command`. Here is what surrounds it: a line in the journal before it and after it, and
its undoing where it was stopped or died. A server that dies in between leaves an unfinished line; `recover` ends it.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import asdict, replace
from time import monotonic
from typing import Any
from uuid import UUID

from infrastructor.command import Command
from infrastructor.deployment_store import DeploymentRecord, is_left_alone
from infrastructor.domains.compose.commands import ReadProgress
from infrastructor.domains.compose.deploy_command import ABSENT, Instance, Report, RunDeployment
from infrastructor.domains.compose.models import Deployment, DeploymentStep, RecoveredRow
from infrastructor.domains.compose.planning import Draft, Wanted, draft
from infrastructor.errors import (
    Cancelled,
    CommandFailed,
    CommandTimeout,
    Conflict,
    DatabaseOperationError,
    InfrastructorError,
    OutcomeUnknown,
    ParseError,
    RollbackFailed,
    RolledBack,
    SSHConnectionError,
    ValidationFailed,
)
from infrastructor.masking import mask_secrets
from infrastructor.operation import Context
from infrastructor.sanitize import clean
from infrastructor.snapshot_store import SnapshotStore

_BEAT_S = 1.5
_SLOWEST_LOOK_S = 10.0
_STEPS = ("preparing", "pulling", "writing", "starting", "waiting", "undoing", "deployed")
_SHOWN_LOG = 1500
_BLOCKED_SHOWN = 6


async def deploy(ctx: Context, wanted: Wanted) -> Deployment:
    """Plan, and unless `dry_run`, carry out. Raises `Conflict` when refused, `RolledBack`, `RollbackFailed`."""
    await ctx.progress(0, len(_STEPS), "checking")
    if not wanted.dry_run:
        await _clear_the_way(ctx, wanted.stack)
    plan = await draft(ctx, wanted)
    if wanted.dry_run:
        return _answer(ctx, plan, None)
    if plan.blocked:
        more = len(plan.blocked) - _BLOCKED_SHOWN
        raise Conflict(
            f"{wanted.stack} on {ctx.device.hostname} was not deployed, and nothing was touched. "
            + " ".join(plan.blocked[:_BLOCKED_SHOWN])
            + (f" And {more} more." if more > 0 else ""),
            hint="Mend what is named; dry_run=true shows the whole plan.",
        )
    line = replace(plan.line, operation=str(ctx.operation_id))
    await _begin(ctx, plan, line)
    await _announce(ctx, line)
    report = await _carry_out(ctx, line, as_root=plan.as_root)
    await ctx.deployments.finish(ctx.operation_id, report.outcome, f"{report.reason} {report.rollback}".strip())
    if report.outcome == "deployed":
        await ctx.progress(len(_STEPS), len(_STEPS), "deployed")
        return _answer(ctx, plan, report)
    raise _failure(ctx, wanted.stack, report)


async def _begin(ctx: Context, plan: Draft, line: RunDeployment) -> None:
    """Write down what undoing it would need. Of the files only where they are and their hashes."""
    kept = replace(line, main_text="", env_text="")
    record = DeploymentRecord(
        operation_id=ctx.operation_id,
        device_id=ctx.device.id,
        stack=plan.target.stack,
        folder=plan.target.folder,
        before={
            "line": asdict(kept),
            "as_root": plan.as_root,
            "images": {row.name: row.image for row in plan.target.rows},
        },
        started_at=ctx.now,
        touched_at=ctx.now,
    )
    in_the_way = await ctx.deployments.begin(record)
    if in_the_way is not None:
        raise _under_way(ctx, in_the_way)


async def _announce(ctx: Context, line: RunDeployment) -> None:
    """Tell the history what this run is about to write, or to put back, so that it counts as ours."""
    store = _history_of(ctx)
    if store is None:
        return
    for path, *hashes in (
        (line.main, line.main_expect, line.main_sha),
        (line.env_file, line.env_expect, line.env_sha),
    ):
        if len(set(hashes)) > 1:
            for content_hash in hashes:
                if content_hash != ABSENT:
                    with suppress(DatabaseOperationError):
                        await store.expect(ctx.device.id, path, content_hash, ctx.operation_id)


def _history_of(ctx: Context) -> SnapshotStore | None:
    try:
        return ctx.snapshots
    except InfrastructorError:
        return None  # none is kept here


def _under_way(ctx: Context, record: DeploymentRecord) -> Conflict:
    return Conflict(
        f"A deployment of {record.stack} on {ctx.device.hostname} is under way since {record.started_at:%H:%M:%S} UTC.",
        hint=f"operation_get tells how far {record.operation_id} is; operation_cancel stops it.",
    )


async def _clear_the_way(ctx: Context, stack: str) -> None:
    """End what a server that died left of this stack."""
    for record in await ctx.deployments.unfinished(ctx.device.id):
        if record.stack != stack:
            continue
        if not await _is_left(ctx, record):
            raise _under_way(ctx, record)
        row = await recover(ctx, record)
        if row.outcome in {"running", "rollback_failed"}:
            raise Conflict(
                f"An interrupted deployment of {stack} on {ctx.device.hostname} is not settled: {row.message}",
                hint="Wait for it, or look at the stack with stack_get.",
            )


async def _is_left(ctx: Context, record: DeploymentRecord) -> bool:
    """Whether nobody carries it out any more."""
    state = await ctx.runs.find(record.operation_id)
    if state is not None and state.here:
        return not state.running
    if state is not None and not state.running:
        return True
    return is_left_alone(record)


# --- the run -----------------------------------------------------------------------------------------


async def _carry_out(ctx: Context, line: RunDeployment, *, as_root: bool) -> Report:
    try:
        return await _with_progress(ctx, _run(ctx, line, as_root=as_root), line)
    except OutcomeUnknown as error:
        error.hint = "It goes on, or is undone, on the device. stack_recover tells the outcome once it can be reached."
        raise
    except (SSHConnectionError, ValidationFailed) as error:
        await ctx.deployments.finish(ctx.operation_id, "nothing", error.message)  # nothing was sent
        raise
    except (Cancelled, CommandFailed, CommandTimeout, ParseError) as error:
        # It was stopped in the middle, or died of something nobody thought of: what it began is undone.
        report = await _with_progress(ctx, _run(ctx, undoing(line), as_root=as_root), line)
        if report.outcome in {"deployed", "running"}:
            return report
        await ctx.deployments.finish(ctx.operation_id, report.outcome, error.message)
        if isinstance(error, Cancelled) and report.outcome != "rollback_failed":
            raise Cancelled(f"{error.message} {_said(report)}", hint="") from error
        raise _failure(ctx, line.project, replace(report, reason=f"{error.message} {report.reason}")) from error


def undoing(line: RunDeployment) -> RunDeployment:
    """The line that ends what this one began: it tells the outcome, or undoes what was interrupted."""
    return replace(line, action="undo", main_text="", env_text="")


async def _run(ctx: Context, line: RunDeployment, *, as_root: bool) -> Report:
    command: Command[Report] = line.as_root() if as_root else line
    return await ctx.run(command)


async def _with_progress(ctx: Context, work: Awaitable[Report], line: RunDeployment) -> Report:
    """Its outcome; meanwhile tell the caller every two seconds where it is, and the journal that we live."""
    task = asyncio.ensure_future(work)
    folder = f"{line.main.rpartition('/')[0]}/.infrastructor/{line.operation}"
    began = monotonic()
    said, next_look, wait = "preparing", began + _BEAT_S, _BEAT_S
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=_BEAT_S)
            if task.done():
                break
            if monotonic() >= next_look:
                with suppress(InfrastructorError):
                    async with asyncio.timeout(_BEAT_S):
                        said = await ctx.run(ReadProgress(folder=folder)) or said
                with suppress(InfrastructorError, TimeoutError):
                    await ctx.deployments.touch(line_id(line), said[:60])
                wait = min(_SLOWEST_LOOK_S, wait * 1.3)
                next_look = monotonic() + wait
            with suppress(Exception):
                place = next((i for i, word in enumerate(_STEPS) if said.startswith(word)), 0)
                await ctx.progress(place, len(_STEPS), f"{said} ({monotonic() - began:.0f} s)")
        return await task
    except asyncio.CancelledError:
        task.cancel()
        raise


def line_id(line: RunDeployment) -> UUID:
    return UUID(line.operation)


# --- ending what was interrupted -----------------------------------------------------------------------


async def recover(ctx: Context, record: DeploymentRecord) -> RecoveredRow:
    """Read the outcome of a deployment whose server ended, or undo it on the device. Safe to repeat."""
    line = RunDeployment(**_known(record.before.get("line") or {}))
    report = await _run(ctx, undoing(line), as_root=bool(record.before.get("as_root")))
    if report.outcome != "running":
        await ctx.deployments.finish(record.operation_id, report.outcome, f"{report.reason} {report.rollback}".strip())
    return RecoveredRow(
        operation_id=record.operation_id, stack=record.stack, outcome=report.outcome, message=_said(report)
    )


async def recover_all(ctx: Context) -> list[RecoveredRow]:
    """All of this device that nobody carries out any more."""
    found = []
    for record in await ctx.deployments.unfinished(ctx.device.id):
        if await _is_left(ctx, record):
            found.append(await recover(ctx, record))
    return found


def _known(values: dict[str, Any]) -> dict[str, Any]:
    fields = RunDeployment.__dataclass_fields__
    return {name: value for name, value in values.items() if name in fields}


# --- answers -----------------------------------------------------------------------------------------


def _said(report: Report) -> str:
    words = {
        "deployed": "It was deployed.",
        "refused": f"Nothing was touched: {report.reason}.",
        "rolled_back": f"It was undone: {report.rollback or 'all is as it was'}.",
        "rollback_failed": f"It could not be undone wholly: {report.rollback}.",
        "nothing": "It had not begun.",
        "running": "It is still running on the device.",
    }
    return words[report.outcome]


def _failure(ctx: Context, stack: str, report: Report) -> InfrastructorError:
    """The error that tells both outcomes: of the deployment, and of its undoing."""
    where = f"{stack} on {ctx.device.hostname}"
    log = clean(mask_secrets(report.log), 4000).strip()[-_SHOWN_LOG:]
    details: dict[str, Any] = {
        "reason": mask_secrets(report.reason),
        "rollback": report.rollback,
        "services": [_step_text(step) for step in _steps(report)],
    }
    if log:
        details["log"] = log
    if report.outcome in {"refused", "nothing"}:
        return Conflict(f"{where} was not deployed, and nothing was touched: {mask_secrets(report.reason)}.", **details)
    kind = RollbackFailed if report.outcome == "rollback_failed" else RolledBack
    text = f"{where} was not deployed: {mask_secrets(report.reason).rstrip('. ;')}. {_said(report)}"
    return kind(text + (f" Last words: {log[-400:]}" if log else ""), **details)


def _answer(ctx: Context, plan: Draft, report: Report | None) -> Deployment:
    done = report is not None
    steps = _steps(report) if report else []
    return Deployment(
        device=ctx.device.hostname,
        stack=plan.target.stack,
        outcome="deployed" if done else "planned",
        operation_id=ctx.operation_id if done else None,
        folder=plan.target.folder,
        files=list(plan.changed),
        sha256=plan.line.main_sha if done else plan.sha256,
        diff=clean(plan.diff, 13_000),
        blocked=[clean(text, 500) for text in plan.blocked[:50]],
        notes=[clean(text, 500) for text in (*plan.notes, *(report.notes if report else ()))][:50],
        pulls=list(plan.pulls[:100]),
        folders=list(plan.folders[:100]),
        services=steps[:100],
        message=_message(plan, steps, done=done),
    )


def _message(plan: Draft, steps: list[DeploymentStep], *, done: bool) -> str:
    if not done:
        return "It would be refused." if plan.blocked else "It would go ahead; nothing was touched yet."
    changed = [step.service for step in steps if step.image_id_before is not None]
    new = f" New images: {', '.join(changed)}." if changed else ""
    return f"{len(steps)} containers run or ended well.{new}"


def _steps(report: Report) -> list[DeploymentStep]:
    before: dict[str, Instance] = {one.service: one for one in report.before}
    return [
        DeploymentStep(
            service=one.service,
            state=one.status if one.health == "-" or not one.running else one.health,
            image=one.image,
            image_id=one.image_id,
            image_id_before=old.image_id if (old := before.get(one.service)) and old.image_id != one.image_id else None,
        )
        for one in report.after
    ]


def _step_text(step: DeploymentStep) -> str:
    return f"{step.service}: {step.state}, {step.image} {step.image_id[:19]}"
