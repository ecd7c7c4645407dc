"""Every operation there is: one line per domain."""

from typing import Any

from infrastructor.domains.containers.operations import OPERATIONS as CONTAINERS
from infrastructor.domains.devices.operations import OPERATIONS as DEVICES
from infrastructor.domains.events.operations import OPERATIONS as EVENTS
from infrastructor.domains.system.operations import OPERATIONS as SYSTEM
from infrastructor.operation import Operation

CATALOG: tuple[Operation[Any, Any], ...] = (*DEVICES, *CONTAINERS, *EVENTS, *SYSTEM)
