"""Asking the human before a DESTROY operation, in both eras of the protocol. Whatever goes wrong, nothing is done.

The operation plans first, as at every door. A client that can ask its user is made to show the plan; only a yes sends
the plan's token to the service, which reads the state again before it acts. A no, a closed form, silence and nonsense
use the plan up, and the service has a record of it. The model sees no token then.

Clients that cannot ask get the plan and its token. Where an admin must approve (`destroy_approval=human`), a form in
the client is no approval, so it is not shown.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

from fastmcp.server.context import Context
from fastmcp.server.dependencies import get_context
from mcp.server.request_state import RequestStateSecurity
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult

from infrastructor.app import Application
from infrastructor.errors import PlanRejected
from infrastructor.operation import Answer, Operation, Plan
from infrastructor.ports.callers import Effect
from infrastructor.sanitize import clean
from mcp_server.door import Door

MODERN = "2026-07-28"
_ASKED = "confirm"
_MAX_MESSAGE = 6000
_MAX_LINES = 40
_LINE = 500

_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        _ASKED: {
            "type": "boolean",
            "title": "Do it",
            "description": "Yes carries out exactly this plan.",
            "default": False,
        }
    },
    "required": [_ASKED],
}


def sealing(application: Application) -> RequestStateSecurity | None:
    """How the state of a question is sealed between its two rounds: with a key that other processes share."""
    return None if application.confirm_key is None else RequestStateSecurity(keys=[application.confirm_key])


async def confirmed(
    door: Door, operation: Operation[Any, Any], arguments: dict[str, Any]
) -> Answer[Any] | InputRequiredResult:
    """Submit; for a DESTROY operation ask the human first where the client can. Raises `InfrastructorError` kinds."""
    if operation.effect is not Effect.DESTROY:
        return await door.submit(operation, arguments)
    context = get_context()
    if context.request_state is not None or context.input_responses is not None:
        return await _second_round(door, operation, arguments, context)
    answer = await door.submit(operation, arguments)
    plan: Plan | None = answer.result.plan if answer.result.status == "planned" else None
    if plan is None or plan.needs_approval or not _can_ask(context):
        return answer
    if _is_modern(context):
        return InputRequiredResult(
            input_requests={
                _ASKED: ElicitRequest(
                    method="elicitation/create",
                    params=ElicitRequestFormParams(message=_message(arguments, plan), requested_schema=_FORM),
                )
            },
            request_state=plan.plan_token,
        )
    refusal = await _asked_now(door, operation, arguments, context, plan)
    return await _decided(door, operation, arguments, plan.plan_token, refusal)


async def _second_round(
    door: Door, operation: Operation[Any, Any], arguments: dict[str, Any], context: Context
) -> Answer[Any]:
    """The client came back with its user's answer, and with the token that we sealed."""
    token = context.request_state
    if token is None or "plan_token" in arguments:
        error = PlanRejected(f"{operation.name}: an answer came without the plan it answers.")
        await door.service.refuse(operation, door.caller(context), error)
        raise error
    given = (context.input_responses or {}).get(_ASKED)
    return await _decided(door, operation, arguments, token, _refusal(given))


async def _asked_now(
    door: Door, operation: Operation[Any, Any], arguments: dict[str, Any], context: Context, plan: Plan
) -> str | None:
    """Ask over the open connection and wait, no longer than the plan lives. Why not, or None for a yes."""
    patience = (plan.expires_at - datetime.now(UTC)).total_seconds()
    try:
        async with asyncio.timeout(patience):
            given = await context.session.elicit(
                message=_message(arguments, plan), requested_schema=_FORM, related_request_id=context.request_id
            )
    except TimeoutError:
        return "nobody answered in time"
    except asyncio.CancelledError:
        # The call was cancelled while the form was open. The record must not wait for a task that is being torn down.
        why = "the call was cancelled while the user was asked"
        work = door.service.decline(operation, arguments, plan.plan_token, door.caller(context), why)
        door.service.spawn(work)
        raise
    except Exception as error:  # noqa: BLE001 - whatever a client answers, it was no yes
        return f"the client could not ask its user ({type(error).__name__})"
    return _refusal(given)


def _refusal(given: object) -> str | None:
    """Why an answer is no yes; None for the only thing that is one."""
    if not isinstance(given, ElicitResult):
        return "the client sent no answer of its user"
    if given.action != "accept":
        return "the user declined it" if given.action == "decline" else "the user closed the question"
    if (given.content or {}).get(_ASKED) is not True:
        return "the user did not say yes"
    return None


async def _decided(
    door: Door, operation: Operation[Any, Any], arguments: dict[str, Any], token: str, refusal: str | None
) -> Answer[Any]:
    if refusal is not None:
        raise await door.service.decline(operation, arguments, token, door.caller(get_context()), refusal)
    return await door.submit(operation, {**arguments, "plan_token": token})


def _can_ask(context: Context) -> bool:
    """Whether the client declared that it shows forms to its user."""
    request = context.request_context
    params = None if request is None else request.session.client_params
    declared = None if params is None else params.capabilities.elicitation
    if declared is None:
        return False
    return declared.form is not None or declared.url is None  # an empty declaration means forms


def _is_modern(context: Context) -> bool:
    request = context.request_context
    return request is not None and str(request.protocol_version or "") >= MODERN


def _message(arguments: dict[str, Any], plan: Plan) -> str:
    """The plan as a person reads it. What devices said is in it as plain text, a line each."""
    device = arguments.get("device")
    lines = [_one_line(plan.summary), ""]
    lines += [f"- {_one_line(effect)}" for effect in plan.effects[:_MAX_LINES]]
    if len(plan.effects) > _MAX_LINES:
        lines.append(f"- and {len(plan.effects) - _MAX_LINES} more effects")
    if plan.commands:
        lines += ["", f"Commands on {device}:"] + [f"  $ {_one_line(line)}" for line in plan.commands[:_MAX_LINES]]
        if len(plan.commands) > _MAX_LINES:
            lines.append(f"  and {len(plan.commands) - _MAX_LINES} more commands")
    end = ["", "This can be undone." if plan.reversible else "This cannot be undone."]
    text = "\n".join(lines)
    if len(text) > _MAX_MESSAGE:
        text = f"{text[:_MAX_MESSAGE]}… (shortened; say no if you need to see all of it)"
    return text + "\n".join(["", *end])


def _one_line(text: str) -> str:
    return " ".join(clean(text, _LINE).split())
