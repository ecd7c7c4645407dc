"""Every operation there is: one line per domain."""

from typing import Any

from infrastructor.domains.devices.operations import OPERATIONS as DEVICES
from infrastructor.domains.drives.operations import OPERATIONS as DRIVES
from infrastructor.domains.logs.operations import OPERATIONS as LOGS
from infrastructor.domains.packages.operations import OPERATIONS as PACKAGES
from infrastructor.domains.system.operations import OPERATIONS as SYSTEM
from infrastructor.operation import Operation

CATALOG: tuple[Operation[Any, Any], ...] = (*DEVICES, *SYSTEM, *DRIVES, *LOGS, *PACKAGES)
