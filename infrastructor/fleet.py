"""Many devices in one call: which ones a selector means, and asking them side by side.

Selector: terms joined by commas. `nas` a name, `web-*` a pattern, `tag:role=db` or `tag:role`, `*` all;
`!term` takes away. A device counts once.
"""

import asyncio
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import Field

from infrastructor.errors import InfrastructorError, SSHTimeout, ValidationFailed
from infrastructor.operation import Answer, Context, DeviceParams, Operation
from infrastructor.ports.callers import Effect
from infrastructor.ports.devices import Device

AT_ONCE = 1000
"""Devices asked side by side. High, since one that is dead holds its place for the connect timeout."""

Selector = Annotated[str, Field(max_length=500, description="Names, 'web-*', 'tag:role=db', '!name', '*'.")]
Outcome = Answer[Any] | InfrastructorError


def select(devices: Sequence[Device], selector: str) -> list[Device]:
    """The devices a selector means, in the order given. Raises `ValidationFailed` for a term nothing matches."""
    chosen: dict[str, Device] = {}
    terms = [term.strip() for term in selector.split(",") if term.strip()]
    if not terms:
        raise ValidationFailed("The selector is empty.", hint="Use a name, 'web-*', 'tag:role=db' or '*'.")
    for term in terms:
        negated, wanted = term.startswith("!"), term.removeprefix("!")
        matching = [device for device in devices if _matches(device, wanted)]
        if not matching and not negated and wanted != "*":
            names = ", ".join(device.hostname for device in devices[:10]) or "none"
            raise ValidationFailed(f"No device matches {wanted!r}.", hint=f"Registered: {names}.")
        for device in matching:
            if negated:
                chosen.pop(device.hostname, None)
            else:
                chosen[device.hostname] = device
    return [device for device in devices if device.hostname in chosen]


def _matches(device: Device, term: str) -> bool:
    if term.startswith("tag:"):
        key, given, value = term[4:].partition("=")
        return key in device.tags and (not given or fnmatchcase(device.tags[key], value))
    return fnmatchcase(device.hostname, term)


def fans_out(operation: Operation[Any, Any]) -> bool:
    return operation.effect is Effect.READ and issubclass(operation.params, DeviceParams)


def check_fan_out(operation: Operation[Any, Any]) -> None:
    """Only a READ operation on one device can be asked of many. Raises `ValidationFailed` otherwise."""
    if not fans_out(operation):
        raise ValidationFailed(
            f"{operation.name} cannot run over a selector.",
            hint="Only READ operations on one device can; changes are made device by device.",
        )


async def fan_out(
    context: Context,
    operation: Operation[Any, Any],
    devices: Sequence[Device],
    arguments: Mapping[str, Any],
    *,
    deadline_s: float,
) -> dict[str, Outcome]:
    """Ask every device; one answer or error each, in the order given, within the deadline.

    A device that has not answered by then counts as `ssh_timeout`; its command is stopped.
    """
    check_fan_out(operation)
    slots = asyncio.Semaphore(AT_ONCE)
    finished = 0

    async def ask(device: Device) -> Outcome:
        nonlocal finished
        async with slots:
            try:
                return await context.submit(operation, {**arguments, "device": device.hostname})
            except InfrastructorError as error:
                return error
            finally:
                finished += 1
                await context.progress(finished, len(devices), device.hostname)

    tasks = {device.hostname: asyncio.create_task(ask(device)) for device in devices}
    if tasks:
        try:
            await asyncio.wait(tasks.values(), timeout=deadline_s)
        finally:
            for task in tasks.values():
                task.cancel()
    outcomes: dict[str, Outcome] = {}
    for hostname, task in tasks.items():
        if task.done() and not task.cancelled():
            outcomes[hostname] = task.result()
        else:
            outcomes[hostname] = SSHTimeout(f"{hostname} had not answered after {deadline_s:g} s.")
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    return outcomes
