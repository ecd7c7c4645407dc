"""Real programs that tests need. In CI their absence is a failure, elsewhere a skip that says what to install."""

import os
import shutil
from pathlib import Path

import pytest

PACKAGES = {
    "sshd": "openssh-server",
    "dropbear": "dropbear-bin",
    "busybox": "busybox-static",
    "fish": "fish",
    "tcsh": "tcsh",
    "zsh": "zsh",
    "iptables": "iptables",
    "ip": "iproute2",
    "sudo": "sudo",
}


def program(name: str) -> str:
    """The path of a program, looked for in the sbin folders too."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        missing(f"{name} is not installed: apt-get install {PACKAGES.get(name, name)}")
    return found


def need_root() -> None:
    if os.geteuid() != 0:
        missing("this test starts servers and makes users: run it as root")


def missing(why: str) -> None:
    if os.environ.get("CI") == "true" or os.environ.get("INFRASTRUCTOR_REQUIRE_REAL") == "1":
        pytest.fail(why)
    pytest.skip(why)


def resident_bytes() -> int:
    """Of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def state(pid: int) -> str:
    """`R`, `S`, `Z`… of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def running(marker: str) -> list[int]:
    """Processes, other than shells that merely mention it, whose arguments contain the marker."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if marker.encode() in words and state(int(entry.name)) != "Z":
            found.append(int(entry.name))
    return found
