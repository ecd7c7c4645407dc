"""Marks that forbid: `infrastructor.protected=true` against destruction, `infrastructor.readonly=true` against change.

On a device they are tags and the service heeds them. Container labels and ZFS properties of the same name mean the
same; the domains that see those call `check_unprotected`.
"""

from collections.abc import Mapping

from infrastructor.errors import PermissionDenied, Protected, ReadOnlyMode
from infrastructor.ports.callers import Caller, Effect, Interface, Role
from infrastructor.ports.devices import Device

PROTECTED = "infrastructor.protected"
READ_ONLY = "infrastructor.readonly"
_OFF = frozenset({"", "0", "false", "no", "off"})


def is_set(marks: Mapping[str, str], name: str) -> bool:
    """Whether the mark is there and not said to be off. A value that nobody understands counts as on."""
    return name in marks and marks[name].strip().lower() not in _OFF


def check_unprotected(marks: Mapping[str, str], what: str) -> None:
    """Raise `Protected` when these tags, labels or properties forbid the destruction of `what`."""
    if is_set(marks, PROTECTED):
        raise Protected(f"{what} is marked {PROTECTED}={marks[PROTECTED]}, so it may not be destroyed.")


def check_writable(device: Device, operation: str) -> None:
    """Raise `ReadOnlyMode` when this device is only to be read."""
    if is_set(device.tags, READ_ONLY):
        raise ReadOnlyMode(
            f"{operation} changes things, and {device.hostname} is marked {READ_ONLY}={device.tags[READ_ONLY]}.",
            hint="An admin takes the tag off with device_update, not over MCP.",
        )


def check_device(device: Device, operation: str, effect: Effect, *, registration_only: bool) -> None:
    """Raise when the tags of its device forbid an operation."""
    if effect is Effect.DESTROY:
        check_unprotected(device.tags, f"The device {device.hostname}")
    if effect is not Effect.READ and not registration_only:
        check_writable(device, operation)


def check_marks_kept(before: Mapping[str, str], after: Mapping[str, str], caller: Caller) -> None:
    """Raise `PermissionDenied` when a mark would go that this caller may not take off.

    Anybody who may change a device may mark it; a mark that an assistant could take off would hold nobody.
    """
    lifted = [name for name in (PROTECTED, READ_ONLY) if is_set(before, name) and not is_set(after, name)]
    if lifted and (caller.role is not Role.ADMIN or caller.interface is Interface.MCP):
        raise PermissionDenied(
            f"Only an admin, and not over MCP, may take off the tag {lifted[0]}.",
            hint=f"Keep {lifted[0]} among the tags, or ask an admin to use the command line.",
        )
