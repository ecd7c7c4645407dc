"""What an assistant reads before it has seen a single schema: a map of the toolsets, in 2 KB at most."""

import sys
from collections.abc import Iterable
from typing import Any

from infrastructor.operation import Operation
from infrastructor.ports.callers import Effect

MAX_CHARACTERS = 2000

_HEAD = (
    "Infrastructor reads and changes registered Linux machines over SSH. Every answer says when the device said it "
    "(_meta.collected_at); force_refresh asks again. null means unknown, never zero."
)
_CHANGES = (
    "A destructive tool asks the user itself where the client can. Else it returns a plan: show it to the user, then "
    "call again with its plan_token; with needs_approval an admin approves the plan_id first."
)
_LONG = (
    "Long work names its operation id in its progress: operation_get tells how it stands, operation_cancel stops it."
)
_FLEET = "fleet_run asks any one-device read of many devices at once."


def instructions(operations: Iterable[Operation[Any, Any]]) -> str:
    """The text for these operations: what there is, which tools, where to start."""
    listed = list(operations)
    lines = [_HEAD]
    if any(operation.effect is Effect.DESTROY for operation in listed):
        lines.append(_CHANGES)
    if any(operation.fan_out for operation in listed):
        lines.append(_FLEET)
    if any(operation.name == "operation_get" for operation in listed):
        lines.append(_LONG)
    lines.append("Toolsets:")
    for about, names in _by_domain(listed).items():
        lines.append(f"- {about} {', '.join(names)}")
    text = "\n".join(lines)
    if len(text) > MAX_CHARACTERS:
        lines[-len(_by_domain(listed)) :] = [f"- {about}" for about in _by_domain(listed)]
        text = "\n".join(lines)
    return text[:MAX_CHARACTERS]


def _by_domain(operations: Iterable[Operation[Any, Any]]) -> dict[str, list[str]]:
    """Tool names under what their domain package says of itself."""
    grouped: dict[str, list[str]] = {}
    for operation in operations:
        package = sys.modules[operation.handler.__module__.rpartition(".")[0]]
        about = (package.__doc__ or operation.domain).strip().partition("\n")[0]
        grouped.setdefault(about, []).append(operation.name)
    return grouped
