"""From the files of `ReadFacts` to `SystemInfo`. Pure."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from infrastructor.domains.system import parsers
from infrastructor.domains.system.models import SystemInfo

_DMI = "/sys/class/dmi/id"
# What the vendors of virtual machines write into DMI.
_VIRTUAL = (
    ("qemu", "qemu"),
    ("kvm", "kvm"),
    ("vmware", "vmware"),
    ("virtualbox", "virtualbox"),
    ("innotek", "virtualbox"),
    ("microsoft corporation virtual", "hyper-v"),
    ("xen", "xen"),
    ("bochs", "qemu"),
    ("parallels", "parallels"),
    ("amazon ec2", "aws"),
    ("google", "gce"),
    ("openstack", "openstack"),
    ("digitalocean", "kvm"),
    ("hetzner", "kvm"),
)


def describe(device: str, files: Mapping[str, str], now: datetime) -> SystemInfo:
    """The facts a device's files tell; what none of them tells is None."""
    release = parsers.os_release(files.get("/etc/os-release", ""))
    memory = parsers.meminfo(files["/proc/meminfo"])
    uptime = parsers.uptime(files["/proc/uptime"]) if "/proc/uptime" in files else None
    cpu = files.get("/proc/cpuinfo", "")
    vendor, model = _line(files, f"{_DMI}/sys_vendor"), _line(files, f"{_DMI}/product_name")
    return SystemInfo(
        device=device,
        hostname=_line(files, "/proc/sys/kernel/hostname"),
        os_name=release.get("PRETTY_NAME") or release.get("NAME"),
        os_id=release.get("ID"),
        os_version=release.get("VERSION_ID"),
        kernel=_line(files, "/proc/sys/kernel/osrelease"),
        architecture=_line(files, "/proc/sys/kernel/arch"),
        vendor=vendor,
        model=model or _line(files, "/proc/device-tree/model"),
        bios_version=_line(files, f"{_DMI}/bios_version"),
        cpu_model=_cpu_field(cpu, "model name") or _cpu_field(cpu, "Model") or _cpu_field(cpu, "Processor"),
        cpu_threads=len(re.findall(r"^processor\s*:", cpu, re.MULTILINE)) or None,
        memory_total_bytes=memory["MemTotal"],
        swap_total_bytes=memory.get("SwapTotal"),
        uptime_seconds=None if uptime is None else int(uptime),
        booted_at=None if uptime is None else (now - timedelta(seconds=uptime)).replace(microsecond=0),
        virtualization=_virtualization(files, f"{vendor} {model}".lower(), cpu),
        init=_line(files, "/proc/1/comm"),
    )


def _line(files: Mapping[str, str], path: str) -> str | None:
    return files.get(path, "").strip(" \n\0") or None


def _cpu_field(text: str, name: str) -> str | None:
    match = re.search(rf"^{re.escape(name)}\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else None


def _virtualization(files: Mapping[str, str], hardware: str, cpu: str) -> str | None:
    if hypervisor := _line(files, "/sys/hypervisor/type"):
        return hypervisor
    for sign, name in _VIRTUAL:
        if sign in hardware:
            return name
    return "unknown hypervisor" if re.search(r"^flags\s*:.*\bhypervisor\b", cpu, re.MULTILINE) else None
