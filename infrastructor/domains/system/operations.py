"""Operations on the machine itself."""

from typing import Any

from infrastructor.operation import Operation

OPERATIONS: tuple[Operation[Any, Any], ...] = ()
