"""Operations on the device registry and the fleet."""

from typing import Any

from infrastructor.operation import Operation

OPERATIONS: tuple[Operation[Any, Any], ...] = ()
