"""Every operation there is: one line per domain."""

from typing import Any

from infrastructor.domains.devices.operations import OPERATIONS as DEVICES
from infrastructor.domains.network.operations import OPERATIONS as NETWORK
from infrastructor.domains.system.operations import OPERATIONS as SYSTEM
from infrastructor.operation import Operation

CATALOG: tuple[Operation[Any, Any], ...] = (*DEVICES, *SYSTEM, *NETWORK)
