"""Operations on compose stacks."""

from collections.abc import Mapping
from typing import Any

from infrastructor.completion import Source, listed
from infrastructor.domains.compose.deploy_operations import compose_deploy, stack_recover, stack_rollback
from infrastructor.domains.compose.modify_operations import compose_modify, compose_modify_and_deploy
from infrastructor.domains.compose.stack_operations import (
    stack_down,
    stack_get,
    stack_list,
    stack_logs,
    stack_pull,
    stack_restart,
    stack_up,
)
from infrastructor.operation import Operation

OPERATIONS: tuple[Operation[Any, Any], ...] = (
    stack_list,
    stack_get,
    stack_logs,
    stack_up,
    stack_restart,
    stack_pull,
    stack_rollback,
    stack_recover,
    stack_down,
    compose_modify,
    compose_deploy,
    compose_modify_and_deploy,
)

COMPLETIONS: Mapping[str, Source] = {
    "stack": listed(stack_list, lambda found: [row.name for row in found.stacks], limit=500)
}
