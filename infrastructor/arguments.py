"""What a door received, before it becomes a run: its weight, its faults, and what makes two requests the same."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from infrastructor.errors import ValidationFailed
from infrastructor.operation import Operation, Params
from infrastructor.sanitize import clean

MAX_ARGUMENTS = 1 << 20
"""Characters of input, names and values together, that one request may carry."""

_SHOWN_PROBLEMS = 5


def identity_of(params: Params) -> str:
    """What makes two requests the same, device aside: '' for plain defaults, else a short hash."""
    given = params.model_dump(mode="json", exclude={"device", "force_refresh"}, exclude_defaults=True)
    if not given:
        return ""
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:24]


def outweighs(arguments: Mapping[str, Any], limit: int) -> bool:
    """Whether the arguments hold more than `limit` characters, at whatever depth."""
    weight = 0
    waiting: list[Any] = [arguments]
    while waiting:
        item = waiting.pop()
        weight += len(item) if isinstance(item, str | bytes) else 1
        if weight > limit:
            return True
        if isinstance(item, Mapping):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
    return False


def validation_failed(operation: Operation[Any, Any], error: ValidationError) -> ValidationFailed:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [
        f"{clean('.'.join(str(part) for part in problem['loc']) or 'arguments', 80)}: {clean(problem['msg'], 200)}"
        for problem in problems[:_SHOWN_PROBLEMS]
    ]
    more = f" (and {len(problems) - _SHOWN_PROBLEMS} more)" if len(problems) > _SHOWN_PROBLEMS else ""
    fields = ", ".join(operation.params.model_fields) or "none"
    return ValidationFailed(
        f"{operation.name}: {'; '.join(shown)}{more}.", hint=f"Parameters of {operation.name}: {fields}."
    )
