"""Completions of resource and prompt arguments: device names from the registry, operation names for a fan-out."""

from typing import Any

from mcp_types import Completion, CompletionArgument

from infrastructor.errors import ValidationFailed
from infrastructor.fleet import check_fan_out
from infrastructor.service import UnifiedDataCollectionService

_MOST = 100


async def complete(service: UnifiedDataCollectionService, argument: CompletionArgument) -> Completion | None:
    """Candidates that start with what was typed; None for arguments nobody can enumerate."""
    if argument.name == "device":
        candidates = [device.hostname for device in await service.devices.all()]
    elif argument.name == "operation":
        candidates = sorted(name for name, operation in service.operations.items() if _fans_out(operation))
    else:
        return None
    matching = [name for name in candidates if name.startswith(argument.value)]
    return Completion(values=matching[:_MOST], total=len(matching), has_more=len(matching) > _MOST)


def _fans_out(operation: Any) -> bool:
    try:
        check_fan_out(operation)
    except ValidationFailed:
        return False
    return True
