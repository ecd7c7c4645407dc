"""What the package operations may run on a device. All of it reads: lists are never refreshed.

Seen: apt 2.2 to 3.0, dnf 4.14, pacman 6.0; apk 2.14 by its documentation. zypper has a module of its own.
"""

import re
from dataclasses import dataclass
from datetime import timedelta

from infrastructor.command import Command
from infrastructor.domains.packages.models import PackageUpdate
from infrastructor.domains.packages.pending import Pending, newest, sections
from infrastructor.domains.packages.zypper import ListZypperUpdates
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import Capabilities, CommandOutput, Lane
from infrastructor.sanitize import clean


@dataclass(frozen=True)
class ListAptUpdates(Command[Pending]):
    """What apt would upgrade, by a simulation that takes no lock and needs no root."""

    script = r"""
updates=$(apt-get -s -q -o Debug::NoLocking=true -o APT::Get::Show-User-Simulation-Note=false dist-upgrade) || exit 1
printf '==> /updates <==\n%s\n==> /held <==\n' "$updates"
apt-mark showhold 2>/dev/null
printf '==> /lists <==\n'
for f in /var/lib/apt/periodic/update-success-stamp /var/lib/apt/lists/partial /var/lib/apt/lists; do
  stat -c %Y $f 2>/dev/null
done
printf '==> /now <==\n'
date +%s
"""
    needs = "apt-get"
    timeout = timedelta(seconds=60)
    max_output = 4 << 20
    lane = Lane.SLOW

    def variant(self, capabilities: Capabilities) -> "Command[Pending]":
        tools = capabilities.tools
        if "zypper" in tools and (capabilities.os_id or "").startswith(("opensuse", "sle", "sl-micro", "suse")):
            return ListZypperUpdates()
        if "apt-get" in tools and capabilities.os_id not in _OF_RPM:  # Debian ships dnf and pacman as mere programs
            return self
        if "dnf" in tools or "yum" in tools:
            return ListDnfUpdates()
        if "apk" in tools:
            return ListApkUpdates()
        return ListPacmanUpdates() if "pacman" in tools else self

    def parse(self, output: CommandOutput) -> Pending:
        parts = sections(output.text)
        if "updates" not in parts:
            raise ParseError(f"Not a simulation of apt-get: {clean(output.text, 200)!r}")
        updates = []
        for line in parts["updates"].splitlines():
            if not line.startswith("Inst "):
                continue
            match = _APT_LINE.match(line)
            if match is None:
                raise ParseError(f"Not a line of apt-get -s: {clean(line, 200)!r}")
            origin = match["origin"].strip()
            updates.append(
                PackageUpdate(
                    name=match["name"],
                    current=match["current"],
                    new=match["new"],
                    security="-security" in origin.lower() or "esm" in origin.lower(),
                    origin=clean(origin, 100) or None,
                )
            )
        return Pending(
            "apt",
            tuple(updates),
            tuple(parts.get("held", "").split()),
            newest(parts.get("lists", "")),
            newest(parts.get("now", "")),
        )


_OF_RPM = frozenset({"almalinux", "amzn", "centos", "fedora", "ol", "rhel", "rocky"})
# Inst libc6 [2.36-9] (2.36-10 Debian:12.10/stable, Debian-Security:12/stable-security [amd64]) []
_APT_LINE = re.compile(
    r"^Inst (?P<name>\S+) (?:\[(?P<current>[^\]]*)\] )?\((?P<new>\S+) ?(?P<origin>.*?)(?: \[\w+\])?\)"
)


@dataclass(frozen=True)
class ListDnfUpdates(Command[Pending]):
    """What dnf or yum would upgrade, from the lists it has."""

    script = r"""
program=dnf
command -v dnf >/dev/null 2>&1 || program=yum
command -v $program >/dev/null 2>&1 || exit 127
printf '==> /manager <==\n%s\n==> /updates <==\n' $program
updates=$($program -C check-update 2>&1); status=$?
printf '%s\n==> /status <==\n%s\n==> /security <==\n' "$updates" $status
[ $status = 100 ] && $program -q -C --security check-update 2>/dev/null
printf '==> /installed <==\n'
[ $status = 100 ] && printf '%s\n' "$updates" | while read -r name version repo rest; do
  case $name/$repo/$rest in *.*/?*/) printf '%s\n' "$name" ;; esac
done | xargs rpm -q --qf '%{NAME}.%{ARCH} %{EPOCHNUM}:%{VERSION}-%{RELEASE}\n' 2>/dev/null
printf '==> /lists <==\n'
cd /var/cache && stat -c %Y dnf/*/repodata/repomd.xml yum/*/*/*/repomd.xml libdnf5/*/repodata/repomd.xml \
  dnf/last_makecache dnf/*.solv 2>/dev/null
printf '==> /now <==\n'
date +%s
"""
    timeout = timedelta(seconds=90)
    max_output = 4 << 20
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> Pending:
        parts = sections(output.text)
        said = parts.get("updates", "")
        status = parts.get("status", "").strip()
        if status not in {"0", "100"} or _NO_LISTS.search(said):
            raise ParseError(
                f"dnf has no package lists it may read without fetching them: {clean(said.strip(), 300)!r}",
                hint="Run 'dnf makecache' on the device, as the login user or as root.",
            )
        security = {(name, version) for name, version, _ in _dnf_rows(parts.get("security", ""))}
        installed: dict[str, str] = {}
        for line in parts.get("installed", "").splitlines():
            name, _, version = line.partition(" ")
            installed[name] = version.removeprefix("0:")  # of several (kernels), rpm prints the newest last
        updates = tuple(
            PackageUpdate(
                name=name,
                current=installed.get(name),
                new=version,
                security=(name, version) in security,
                origin=clean(repo, 100),
            )
            for name, version, repo in _dnf_rows(said)
        )
        manager = parts.get("manager", "dnf").strip()
        return Pending(
            "yum" if manager == "yum" else "dnf",
            updates,
            lists_at=newest(parts.get("lists", "")),
            now=newest(parts.get("now", "")),
        )


_NO_LISTS = re.compile(r"no cache for|Cannot retrieve|Error:", re.IGNORECASE)
_RPM_NAME = re.compile(r"^[\w+.-]+\.(?:noarch|x86_64|i[3-6]86|aarch64|armv7hl|ppc64le|s390x|riscv64|src)$")


def _dnf_rows(text: str) -> list[tuple[str, str, str]]:
    """name.arch, version, repository; long names push the rest to the next line."""
    rows: list[tuple[str, str, str]] = []
    words: list[str] = []
    for line in text.splitlines():
        if line.startswith("Obsoleting"):
            break
        fields = line.split()
        if fields and _RPM_NAME.match(fields[0]):
            words = fields
        elif words and line.startswith(" "):
            words += fields
        else:
            words = []
        if len(words) == 3:  # noqa: PLR2004
            rows.append((words[0], words[1], words[2]))
            words = []
    return rows


@dataclass(frozen=True)
class ListApkUpdates(Command[Pending]):
    """What apk would upgrade. It does not tell which of it are security fixes."""

    script = r"""
command -v apk >/dev/null 2>&1 || exit 127
printf '==> /updates <==\n'
apk version -l '<' 2>/dev/null || exit 1
printf '==> /lists <==\n'
stat -c %Y /var/cache/apk/APKINDEX.* /etc/apk/cache/APKINDEX.* /var/lib/apk/APKINDEX.* 2>/dev/null
printf '==> /now <==\n'
date +%s
"""
    timeout = timedelta(seconds=60)
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> Pending:
        parts = sections(output.text)
        if "updates" not in parts:
            raise ParseError(f"Not an answer of apk: {clean(output.text, 200)!r}")
        updates = []
        for line in parts["updates"].splitlines():
            match = _APK_LINE.match(line)
            if match:
                name, current, new = match.groups()
                updates.append(PackageUpdate(name=name, current=current, new=new, security=None, origin=None))
        return Pending("apk", tuple(updates), lists_at=newest(parts.get("lists", "")), now=newest(parts.get("now", "")))


_APK_LINE = re.compile(r"^(\S+?)-(\d[^\s-]*(?:-r\d+)?)\s+<\s+(\S+)")


@dataclass(frozen=True)
class ListPacmanUpdates(Command[Pending]):
    """What pacman would upgrade. It does not tell which of it are security fixes."""

    script = r"""
command -v pacman >/dev/null 2>&1 || exit 127
printf '==> /updates <==\n'
pacman -Qu --color never 2>/dev/null
printf '==> /lists <==\n'
stat -c '%Y %Z' /var/lib/pacman/sync/*.db 2>/dev/null
printf '==> /now <==\n'
date +%s
"""
    timeout = timedelta(seconds=60)
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> Pending:
        parts = sections(output.text)
        if "updates" not in parts:
            raise ParseError(f"Not an answer of pacman: {clean(output.text, 200)!r}")
        updates, held = [], []
        for line in parts["updates"].splitlines():
            match = _PACMAN_LINE.match(line)
            if match is None:
                raise ParseError(f"Not a line of pacman -Qu: {clean(line, 200)!r}")
            name, current, new, ignored = match.groups()
            if ignored:
                held.append(name)
            else:
                updates.append(PackageUpdate(name=name, current=current, new=new, security=None, origin=None))
        return Pending(
            "pacman", tuple(updates), tuple(held), newest(parts.get("lists", "")), newest(parts.get("now", ""))
        )


_PACMAN_LINE = re.compile(r"^(\S+) (\S+) -> (\S+)( \[ignored\])?$")
