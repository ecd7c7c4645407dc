"""Results of the operations on runs and plans."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from infrastructor.operation import PLAIN, Result
from infrastructor.ports.plans import StoredPlan
from infrastructor.ports.runs import RunState

OperationId = Annotated[UUID, Field(description="From _meta, progress or X-Operation-Id.")]
PlanId = Annotated[UUID, Field(description="From plan_list.", json_schema_extra=PLAIN)]

State = Literal["running", "ok", "refused", "error", "cancelled", "unknown"]


class RunProgressRow(Result):
    """How far a run said it is."""

    done: float = Field(description="Steps done.")
    total: float | None = Field(description="Steps in all.")
    message: str = Field(description="What it was doing.")


class OperationRun(Result):
    """One run of an operation."""

    operation_id: UUID = Field(description="Its id.")
    operation: str = Field(description="Its name.")
    device: str | None = Field(description="The device it is about.")
    state: State = Field(description="running, or how it ended; unknown: nobody can say whether it was done.")
    started_at: datetime = Field(description="When it began (UTC).")
    duration_ms: float | None = Field(description="How long it took; null while it runs.")
    progress: RunProgressRow | None = Field(default=None, description="As it said last; only known where it runs.")
    error: str | None = Field(default=None, description="Error code.")
    message: str | None = Field(default=None, description="What went wrong, or what is true of it now.")
    cancelled_by: str | None = Field(default=None, description="Who wanted it stopped, in time or not.")


def run_row(state: RunState, message: str | None = None) -> OperationRun:
    """A run as callers see it: nothing of its params, commands or result."""
    record, progress = state.record, state.progress
    by = (record.details or {}).get("cancelled_by")
    return OperationRun(
        operation_id=record.operation_id,
        operation=record.operation,
        device=record.device,
        state="running" if state.running else record.outcome,  # type: ignore[arg-type]
        started_at=record.started_at,
        duration_ms=record.duration_ms,
        progress=None
        if progress is None or not state.running
        else RunProgressRow(done=progress.done, total=progress.total, message=progress.message),
        error=record.error_code,
        message=message or record.error_message,
        cancelled_by=str(by) if by else None,
    )


class PlanRow(Result):
    """A destructive plan that was not carried out yet."""

    plan_id: UUID = Field(description="Its id.")
    operation: str = Field(description="What it would run.")
    device: str | None = Field(description="On which device.")
    principal: str = Field(description="Who proposed it; only they can carry it out.")
    summary: str = Field(description="What would happen.")
    effects: list[str] = Field(description="Everything that would be lost or changed.")
    commands: list[str] = Field(description="Exact command lines.")
    reversible: bool = Field(description="Whether it can be undone.")
    needs_approval: bool = Field(description="Whether it waits for an admin.")
    approved_by: str | None = Field(description="Who approved it.")
    expires_at: datetime = Field(description="When it is worth nothing any more (UTC).")


class PlanList(Result):
    """Plans that can still be carried out."""

    plans: list[PlanRow] = Field(description="Oldest first.")
    total: int = Field(description="How many there are.")
    next_cursor: str | None = Field(default=None, description="Pass as cursor for the next page.")


class PlanDecision(Result):
    """What was decided on a plan."""

    plan: PlanRow = Field(description="The plan.")
    decision: Literal["approved", "declined"] = Field(description="approved or declined.")
    next_step: str = Field(description="What follows.")


def plan_row(plan: StoredPlan) -> PlanRow:
    """A plan without its token, which we do not have."""
    return PlanRow(
        plan_id=plan.id,
        operation=plan.operation,
        device=plan.body.get("device"),
        principal=plan.principal,
        summary=plan.body["summary"],
        effects=plan.body["effects"],
        commands=plan.body["commands"],
        reversible=plan.body["reversible"],
        needs_approval=plan.needs_approval,
        approved_by=plan.approved_by,
        expires_at=plan.expires_at,
    )
