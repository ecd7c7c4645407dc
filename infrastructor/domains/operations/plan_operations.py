"""Operations on destructive plans that wait: for their caller's token, or for an admin's approval.

None of them is offered over MCP: an approval that an assistant could give would be none.
"""

from uuid import UUID

from infrastructor.domains.operations.models import PlanDecision, PlanId, PlanList, plan_row
from infrastructor.errors import Conflict, NotFound, PermissionDenied
from infrastructor.operation import Context, Params, operation
from infrastructor.paging import Cursor, Limit, page_within
from infrastructor.ports.callers import Effect, Interface, Role
from infrastructor.ports.plans import StoredPlan


class PlanListParams(Params):
    """Input of plan_list."""

    limit: Limit = 50
    cursor: Cursor | None = None


@operation(
    name="plan_list",
    effect=Effect.READ,
    route="GET /api/plans",
    role=Role.ADMIN,
    hidden_from=(Interface.MCP,),
)
async def plan_list(ctx: Context, params: PlanListParams) -> PlanList:
    """List destructive plans that wait to be carried out, with all they would do. Call plan_approve for one of them."""
    plans = [plan_row(plan) for plan in await ctx.plans.waiting()]
    rows, next_cursor = page_within(plans, params.limit, params.cursor)
    return PlanList(plans=rows, total=len(plans), next_cursor=next_cursor)


class PlanApproveParams(Params):
    """Input of plan_approve."""

    plan_id: PlanId


@operation(
    name="plan_approve",
    effect=Effect.CHANGE,
    route="POST /api/plans/{plan_id}/approve",
    role=Role.ADMIN,
    hidden_from=(Interface.MCP,),
)
async def plan_approve(ctx: Context, params: PlanApproveParams) -> PlanDecision:
    """Let the caller of a plan carry it out. Read the plan first; nobody approves their own, and none over MCP."""
    plan = await _waiting(ctx, params.plan_id)
    if plan.principal == ctx.caller.principal:
        raise PermissionDenied(
            f"{ctx.caller.principal} proposed the plan {plan.id} and cannot approve it.",
            hint="Another admin does, or you on the command line of the server.",
        )
    if not plan.needs_approval:
        raise Conflict(f"The plan {plan.id} needs no approval.", hint="Its caller can carry it out with its token.")
    if not await ctx.plans.approve(plan.id, ctx.caller.principal):
        raise Conflict(f"The plan {plan.id} was decided on meanwhile.", hint="plan_list shows how it stands.")
    return PlanDecision(
        plan=plan_row(await _waiting(ctx, plan.id)),
        decision="approved",
        next_step=f"{plan.principal} carries it out by sending its plan_token, until {plan.expires_at:%H:%M} UTC.",
    )


class PlanDeclineParams(Params):
    """Input of plan_decline."""

    plan_id: PlanId


@operation(
    name="plan_decline",
    effect=Effect.CHANGE,
    route="POST /api/plans/{plan_id}/decline",
    role=Role.ADMIN,
    hidden_from=(Interface.MCP,),
)
async def plan_decline(ctx: Context, params: PlanDeclineParams) -> PlanDecision:
    """Make a waiting plan worthless, approved or not. Its caller has to plan anew."""
    plan = await _waiting(ctx, params.plan_id)
    if not await ctx.plans.withdraw(plan.id):
        raise Conflict(f"The plan {plan.id} was carried out or declined meanwhile.", hint="Look with plan_list.")
    return PlanDecision(plan=plan_row(plan), decision="declined", next_step="Its token is worth nothing any more.")


async def _waiting(ctx: Context, plan_id: UUID) -> StoredPlan:
    for plan in await ctx.plans.waiting():
        if plan.id == plan_id:
            return plan
    raise NotFound(f"No plan {plan_id} waits.", hint="It expired or was decided on; plan_list shows those that wait.")
