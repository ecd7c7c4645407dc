"""What may be typed for a parameter: sources of values, by the name that `completes("device")` gives on a field.

A domain lists its sources in `COMPLETIONS` beside its `OPERATIONS`; `catalog.py` joins them. Most are a list operation:

    COMPLETIONS = {"pool": listed(zfs_pool_list, lambda result: [pool.name for pool in result.pools])}
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from infrastructor.operation import Operation, Params, Result
from infrastructor.ports.callers import Caller
from infrastructor.ports.devices import DeviceRegistry

P = TypeVar("P", bound=Params)
R = TypeVar("R", bound=Result)


class Lookup(Protocol):
    """What a source may use: who asks, and what they have typed into the other parameters."""

    @property
    def caller(self) -> Caller: ...

    @property
    def arguments(self) -> Mapping[str, str]: ...

    @property
    def devices(self) -> DeviceRegistry: ...

    @property
    def operations(self) -> Mapping[str, Operation[Any, Any]]: ...

    async def ask(self, operation: Operation[P, R], arguments: Mapping[str, Any]) -> R:
        """Run a READ operation as this caller: from the cache where it can be, refused where they may not."""
        ...


Source = Callable[[Lookup], Awaitable[Iterable[str]]]


def listed(operation: Operation[P, R], names: Callable[[R], Iterable[str]], **arguments: Any) -> Source:
    """The names in a list operation's result. It takes what was typed already, e.g. `device`; without, nothing."""
    fields = operation.params.model_fields

    async def source(lookup: Lookup) -> Iterable[str]:
        given = {name: value for name, value in lookup.arguments.items() if name in fields} | arguments
        if any(field.is_required() and name not in given for name, field in fields.items()):
            return ()
        return names(await lookup.ask(operation, given))

    return source
