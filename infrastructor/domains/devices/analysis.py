"""device_test and device_analyze: what a device can do, and what stands in the way."""

from collections.abc import Sequence
from time import perf_counter
from typing import TypeVar

from infrastructor.command import Command
from infrastructor.domains.devices.commands import (
    FindConfigs,
    ListComposeProjects,
    ListGpus,
    ReadClock,
    ReadVersions,
)
from infrastructor.domains.devices.models import Check, DeviceAnalysis, DeviceTest, Verdict
from infrastructor.domains.system.commands import ListUnits
from infrastructor.domains.system.models import Service
from infrastructor.errors import CommandFailed, CommandNotAvailable, CommandTimeout, InfrastructorError, ParseError
from infrastructor.operation import Context
from infrastructor.paging import fitting
from infrastructor.ports.devices import Transport
from infrastructor.ports.ssh import Capabilities

T = TypeVar("T")

_CLOCK_SKEW_S = 60
_LIST = 10_000  # characters of each long list
_BASE_TOOLS = ("tail", "stat", "ps", "timeout", "base64", "setsid")
_PACKAGE_MANAGERS = {
    "apt-get": "apt", "dnf": "dnf", "yum": "yum", "apk": "apk", "pacman": "pacman", "zypper": "zypper", "opkg": "opkg",
}  # fmt: skip
# What people look for when they ask what a machine is for.
_WELL_KNOWN = (
    "docker", "podman", "containerd", "k3s", "nginx", "apache2", "httpd", "caddy", "haproxy", "traefik", "smb", "smbd",
    "nfs-server", "nfs-kernel-server", "postgresql", "mysql", "mariadb", "redis", "redis-server", "mongod", "influxdb",
    "grafana-server", "prometheus", "plexmediaserver", "jellyfin", "libvirtd", "pveproxy", "pvedaemon", "tailscaled",
    "wg-quick@wg0", "zfs-zed", "zfs.target", "smartd", "smartmontools", "unbound", "bind9", "named", "dnsmasq",
    "pihole-FTL", "home-assistant", "mosquitto", "cockpit", "netdata", "node_exporter", "prometheus-node-exporter",
)  # fmt: skip


async def examine(ctx: Context) -> DeviceTest:
    """Try the device step by step; the first red step ends it, for nothing after it could work."""
    device = ctx.device
    checks: list[Check] = []
    if device.transport is Transport.SSH:
        trusted = bool(device.host_keys)
        checks.append(
            _check("host_key", f"{len(device.host_keys)} trusted host key(s).")
            if trusted
            else _check("host_key", "No host key is trusted yet.", Verdict.RED, "Call device_trust to see its keys.")
        )
        if not trusted:
            return _conclude(device.hostname, None, checks)
    started = perf_counter()
    try:
        clock = await ctx.run(ReadClock())
    except InfrastructorError as error:
        checks.append(_check("login", error.message, Verdict.RED, error.hint or None))
        return _conclude(device.hostname, None, checks)
    login_ms = round((perf_counter() - started) * 1000, 1)
    checks.append(_check("login", f"Logged in and ran a command in {login_ms:g} ms."))
    skew = clock - ctx.now.timestamp()
    checks.append(
        _check("clock", "The clock is right.")
        if abs(skew) <= _CLOCK_SKEW_S
        else _check("clock", f"The clock is off by {skew:.0f} s.", Verdict.AMBER, "Run a time service on the device.")
    )
    capabilities = await ctx.links.capabilities(device, refresh=True)
    checks.append(_tools(capabilities))
    checks.append(_sudo(capabilities))
    return _conclude(device.hostname, login_ms, checks)


def _conclude(device: str, login_ms: float | None, checks: list[Check]) -> DeviceTest:
    worst = max((check.verdict for check in checks), key=list(Verdict).index)
    return DeviceTest(device=device, verdict=worst, login_ms=login_ms, checks=checks)


def _check(name: str, message: str, verdict: Verdict = Verdict.GREEN, fix: str | None = None) -> Check:
    return Check(name=name, verdict=verdict, message=message, fix=fix)


def _tools(capabilities: Capabilities) -> Check:
    missing = [tool for tool in _BASE_TOOLS if tool not in capabilities.tools]
    if not missing:
        return _check("tools", f"{len(capabilities.tools)} known programs found.")
    return _check(
        "tools",
        f"Missing: {', '.join(missing)}.",
        Verdict.AMBER,
        "Install coreutils and procps, or BusyBox.",
    )


def _sudo(capabilities: Capabilities) -> Check:
    if capabilities.is_root or capabilities.sudo in ("root", "nopasswd"):
        return _check("sudo", "Root rights are available without a password.")
    return _check(
        "sudo",
        f"{capabilities.user or 'The login user'} has no root rights without a password ({capabilities.sudo}).",
        Verdict.AMBER,
        "Operations that need root will say so; 'infrastructor sudoers' prints rules for exactly those commands.",
    )


async def analyze(ctx: Context) -> DeviceAnalysis:
    """Ask everything that tells what a device is for; what fails becomes a line in `problems`."""
    problems: list[str] = []

    async def attempt(command: Command[T]) -> T | None:
        try:
            return await ctx.run(command)
        except (CommandFailed, CommandNotAvailable, CommandTimeout, ParseError) as error:
            problems.append(error.message)
            return None

    capabilities = await ctx.links.capabilities(ctx.device, refresh=True)
    tools = capabilities.tools
    has_services = capabilities.systemd or bool(tools & {"rc-status", "service"})
    units = (await attempt(ListUnits()) if has_services else None) or ()
    versions = dict(await attempt(ReadVersions()) or {})
    projects = (await attempt(ListComposeProjects()) if "docker" in tools else None) or {}

    def shown(rows: Sequence[T], what: str) -> list[T]:
        kept = fitting(rows, _LIST)
        if len(kept) < len(rows):
            problems.append(f"{len(rows) - len(kept)} more {what}.")
        return kept

    return DeviceAnalysis(
        device=ctx.device.hostname,
        capabilities=capabilities,
        container_runtimes=[runtime for runtime in ("docker", "podman") if runtime in tools],
        compose=versions.get("compose") or versions.get("docker-compose"),
        package_manager=next((name for tool, name in _PACKAGE_MANAGERS.items() if tool in tools), None),
        versions=versions,
        gpus=list(await attempt(ListGpus()) or ()),
        services=_running(units),
        failed_services=shown([unit.name for unit in units if unit.state == "failed"], "failed; service_list has them"),
        compose_projects={
            project: list(files)
            for project, files in shown(sorted(projects.items()), "compose projects; stack_list has them")
        },
        config_paths=shown(await attempt(FindConfigs()) or (), "configuration files; config_watch_list has them"),
        problems=problems,
    )


def _running(units: tuple[Service, ...]) -> list[str]:
    names = {unit.name.removesuffix(".service") for unit in units if unit.state == "active"}
    return sorted(name for name in names if name in _WELL_KNOWN or name.split("@")[0] in _WELL_KNOWN)
