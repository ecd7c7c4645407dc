"""device_import: register the hosts of an OpenSSH client configuration."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError

from infrastructor.domains.devices import ssh_config
from infrastructor.domains.devices.models import (
    Address,
    DeviceImport,
    Hostname,
    ImportedHost,
    KeyPath,
    SkippedHost,
    Tags,
    Username,
)
from infrastructor.errors import NotFound, ValidationFailed
from infrastructor.ids import uuid7
from infrastructor.operation import PLAIN, Context, Params, operation
from infrastructor.ports.callers import Effect
from infrastructor.ports.devices import Device
from infrastructor.protection import check_marks_kept
from infrastructor.sanitize import clean

_MAX_BYTES = 1 << 20
_ALLOWED = ("~/.ssh", "/etc/ssh")
_DEFAULT_PORT = 22
_CHECKS: dict[str, TypeAdapter[Any]] = {
    "hostname": TypeAdapter(Hostname),
    "address": TypeAdapter(Address),
    "ssh_username": TypeAdapter(Username),
    "ssh_private_key_path": TypeAdapter(KeyPath),
}


class DeviceImportParams(Params):
    """Input of device_import."""

    path: str = Field(
        default="~/.ssh/config",
        max_length=500,
        pattern=r"^[~/][^\x00-\x1f\x7f]*$",
        description="ssh_config on this server.",
    )
    dry_run: bool = Field(default=True, description="Only report what would be registered.", json_schema_extra=PLAIN)
    update_existing: bool = Field(default=False, description="Also change registered devices.", json_schema_extra=PLAIN)
    tags: Tags = Field(default_factory=dict, description="Labels for all of them.")


@operation(name="device_import", effect=Effect.CHANGE, route="POST /api/devices/import")
async def device_import(ctx: Context, params: DeviceImportParams) -> DeviceImport:
    """Register the hosts of an ssh_config, and say what was left out and why. Look at the dry run first."""
    parsed = await asyncio.to_thread(_read, params.path)
    known = {device.hostname: device for device in await ctx.devices.all()}
    skipped = [SkippedHost(line=item.line, text=clean(item.text, 200), reason=item.reason) for item in parsed.skipped]
    planned: list[tuple[str, Device]] = []
    names = {entry.name for entry in parsed.entries} | known.keys()
    for entry in parsed.entries:
        reason = _unusable(entry, names)
        if reason is None:
            planned.append(_plan(ctx, entry, known.get(entry.name), params))
        else:
            skipped.append(SkippedHost(line=entry.line, text=clean(f"Host {entry.name}", 200), reason=reason))
    for _, device in planned:
        if device.hostname in known:
            check_marks_kept(known[device.hostname].tags, device.tags, ctx.caller)
    if not params.dry_run:
        for action, device in planned:
            if action == "add":
                await ctx.devices.add(device)
            elif action == "update":
                await ctx.devices.update(device)
                await ctx.links.forget(device.id)
    return DeviceImport(
        path=params.path,
        dry_run=params.dry_run,
        hosts=[_report(action, device) for action, device in planned],
        skipped=sorted(skipped, key=lambda item: item.line),
        next_step="Call again with dry_run=false to register them."
        if params.dry_run
        else "Call device_trust for each new device; nothing is sent to it before.",
    )


def _plan(
    ctx: Context, entry: ssh_config.Entry, known: Device | None, params: DeviceImportParams
) -> tuple[str, Device]:
    """What to do with a host: add, update or unchanged."""
    values: dict[str, Any] = {
        "address": entry.hostname,
        "ssh_port": entry.port or _DEFAULT_PORT,
        "ssh_username": entry.user,
        "ssh_private_key_path": _key_path(entry.identity_file),
        "jump": entry.proxy_jump,
    }
    if known is None:
        device = Device(
            id=uuid7(), hostname=entry.name, tags=params.tags, created_at=ctx.now, updated_at=ctx.now, **values
        )
        return "add", device
    changed = known.model_copy(update=values | {"tags": known.tags | params.tags})
    if changed == known or not params.update_existing:
        return "unchanged", known
    return "update", changed.model_copy(update={"updated_at": ctx.now})


def _report(action: str, device: Device) -> ImportedHost:
    return ImportedHost(
        hostname=device.hostname,
        action=action,
        address=device.address,
        ssh_port=device.ssh_port,
        ssh_username=device.ssh_username,
        jump=device.jump,
    )


def _unusable(entry: ssh_config.Entry, names: set[str]) -> str | None:
    """Why a host cannot be registered; None when it can."""
    if entry.proxy_command is not None:
        return "ProxyCommand would run a program on the server; use ProxyJump"
    if entry.proxy_jump is not None and (entry.proxy_jump not in names or entry.proxy_jump == entry.name):
        return f"ProxyJump {clean(entry.proxy_jump, 80)} is neither a Host here nor a registered device"
    values = {
        "hostname": entry.name,
        "address": entry.hostname,
        "ssh_username": entry.user,
        "ssh_private_key_path": _key_path(entry.identity_file),
    }
    for field, value in values.items():
        if value is None:
            continue
        try:
            _CHECKS[field].validate_python(value)
        except ValidationError:
            return f"{clean(value, 80)!r} is no usable {field}"
    return None


def _key_path(identity_file: str | None) -> str | None:
    if identity_file is None or identity_file.lower() == "none":
        return None
    return identity_file.replace("%d", "~") if identity_file.startswith("%d/") else identity_file


def _read(path: str) -> ssh_config.Parsed:
    """Parse a file below ~/.ssh or /etc/ssh. Raises `ValidationFailed` for another place, `NotFound` for none."""
    found = Path(path).expanduser().resolve()
    roots = [Path(root).expanduser().resolve() for root in _ALLOWED]
    if not any(found.is_relative_to(root) for root in roots):
        raise ValidationFailed(f"{path} is not below {' or '.join(_ALLOWED)}.", hint="Copy the file there first.")
    text = _text(found)
    if text is None:
        raise NotFound(f"There is no readable file {path} on the server.", hint="Give another path.")

    def include(pattern: str) -> Iterable[str]:
        given = Path(pattern).expanduser()
        base = given if given.is_absolute() else found.parent / given
        anchor = Path(base.anchor)
        for included in sorted(anchor.glob(str(base.relative_to(anchor))))[:100]:
            resolved = included.resolve()
            content = _text(resolved) if any(resolved.is_relative_to(root) for root in roots) else None
            if content is not None:
                yield content

    return ssh_config.parse(text, include)


def _text(path: Path) -> str | None:
    """The file's text; None when it is no readable regular file of sensible size."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return None
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
