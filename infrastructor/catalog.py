"""Every operation there is, and what may be typed into their parameters: one line per domain."""

from collections.abc import Mapping
from typing import Any

from infrastructor.completion import Source
from infrastructor.domains.compose.operations import COMPLETIONS as STACK_COMPLETIONS
from infrastructor.domains.compose.operations import OPERATIONS as COMPOSE
from infrastructor.domains.configs.operations import OPERATIONS as CONFIGS
from infrastructor.domains.containers.operations import COMPLETIONS as CONTAINER_COMPLETIONS
from infrastructor.domains.containers.operations import OPERATIONS as CONTAINERS
from infrastructor.domains.dependencies.operations import OPERATIONS as DEPENDENCIES
from infrastructor.domains.devices.operations import COMPLETIONS as DEVICE_COMPLETIONS
from infrastructor.domains.devices.operations import OPERATIONS as DEVICES
from infrastructor.domains.drives.operations import OPERATIONS as DRIVES
from infrastructor.domains.events.operations import OPERATIONS as EVENTS
from infrastructor.domains.logs.operations import OPERATIONS as LOGS
from infrastructor.domains.network.operations import OPERATIONS as NETWORK
from infrastructor.domains.operations.operations import OPERATIONS as OPERATION_RUNS
from infrastructor.domains.packages.operations import OPERATIONS as PACKAGES
from infrastructor.domains.proxies.operations import COMPLETIONS as PROXY_COMPLETIONS
from infrastructor.domains.proxies.operations import OPERATIONS as PROXIES
from infrastructor.domains.system.operations import OPERATIONS as SYSTEM
from infrastructor.domains.zfs.operations import COMPLETIONS as ZFS_COMPLETIONS
from infrastructor.domains.zfs.operations import OPERATIONS as ZFS
from infrastructor.operation import Operation

CATALOG: tuple[Operation[Any, Any], ...] = (
    *DEVICES,
    *CONTAINERS,
    *COMPOSE,
    *EVENTS,
    *SYSTEM,
    *DRIVES,
    *ZFS,
    *LOGS,
    *PACKAGES,
    *NETWORK,
    *PROXIES,
    *DEPENDENCIES,
    *CONFIGS,
    *OPERATION_RUNS,
)

COMPLETIONS: Mapping[str, Source] = {
    **DEVICE_COMPLETIONS,
    **CONTAINER_COMPLETIONS,
    **PROXY_COMPLETIONS,
    **STACK_COMPLETIONS,
    **ZFS_COMPLETIONS,
}
