"""Operations on runs of operations. Those on plans are in `plan_operations`."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from infrastructor.domains.operations.models import OperationId, OperationRun, run_row
from infrastructor.domains.operations.plan_operations import plan_approve, plan_decline, plan_list
from infrastructor.errors import NotFound, PermissionDenied
from infrastructor.operation import Context, Operation, Params, operation
from infrastructor.ports.callers import Caller, Effect, Role
from infrastructor.ports.runs import RunState


class OperationGetParams(Params):
    """Input of operation_get."""

    operation_id: OperationId


@operation(
    name="operation_get",
    effect=Effect.READ,
    route="GET /api/operations/{operation_id}",
    resource_uri="operation://{operation_id}",
)
async def operation_get(ctx: Context, params: OperationGetParams) -> OperationRun:
    """Tell whether an operation still runs, how far it is, or how it ended. Reads are shown to all, else your own."""
    state = _known(await ctx.runs.find(params.operation_id), params.operation_id)
    if not _may_see(ctx.caller, state):
        raise PermissionDenied(
            f"{state.record.operation} {params.operation_id} was asked by somebody else.",
            hint="Only its caller and admins see a change; ask with the token that started it.",
        )
    elsewhere = state.running and not state.here
    return run_row(state, "Another process runs it, so its progress is not known here." if elsewhere else None)


class OperationCancelParams(Params):
    """Input of operation_cancel."""

    operation_id: OperationId


@operation(
    name="operation_cancel",
    effect=Effect.CHANGE,
    route="POST /api/operations/{operation_id}/cancel",
    deadline=timedelta(seconds=30),
)
async def operation_cancel(ctx: Context, params: OperationCancelParams) -> OperationRun:
    """Stop a running operation of your own, on its device too; admins stop any. The state says what is true of it."""
    state = _known(await ctx.runs.find(params.operation_id), params.operation_id)
    if ctx.caller.role is not Role.ADMIN and state.record.caller.principal != ctx.caller.principal:
        raise PermissionDenied(
            f"{state.record.operation} {params.operation_id} was asked by somebody else.",
            hint="Ask an admin to stop it.",
        )
    if not state.running:
        return run_row(state, f"It had ended before: {state.record.outcome}.")
    state = _known(await ctx.runs.stop(params.operation_id, ctx.caller.principal), params.operation_id)
    return run_row(state, _told(state))


def _told(state: RunState) -> str | None:
    if state.running:
        where = "" if state.here else " in another process"
        return f"It was told to stop{where} and has not ended yet. Call operation_get to learn how it ends."
    if state.record.outcome == "ok":
        return "It was done before the cancel arrived."
    return None


def _may_see(caller: Caller, state: RunState) -> bool:
    record = state.record
    return caller.role is Role.ADMIN or record.effect is Effect.READ or record.caller.principal == caller.principal


def _known(state: RunState | None, operation_id: UUID) -> RunState:
    if state is None:
        raise NotFound(
            f"No operation {operation_id} is known.",
            hint="Take the id from _meta.operation_id, a progress message or X-Operation-Id.",
        )
    return state


OPERATIONS: tuple[Operation[Any, Any], ...] = (
    operation_get,
    operation_cancel,
    plan_list,
    plan_approve,
    plan_decline,
)
