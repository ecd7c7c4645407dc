"""Whether a device runs what it has installed."""

import re
from dataclasses import dataclass
from datetime import timedelta

from infrastructor.command import Command
from infrastructor.domains.packages.pending import sections
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.sanitize import clean

_PACKAGES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class RebootState:
    """`required` is None when nothing on the device can tell."""

    required: bool | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ReadRebootState(Command[RebootState]):
    """The kernel that runs, those installed, and what the distribution says of a reboot."""

    script = r"""
printf '==> /running <==\n%s\n==> /kernels <==\n' "$(uname -r)"
for k in /lib/modules/*/modules.dep; do [ -e "$k" ] && k=${k%/*} && printf '%s\n' "${k##*/}"; done
printf '==> /boot <==\n'
for k in /boot/vmlinuz-*; do [ -e "$k" ] && printf '%s\n' "${k#/boot/vmlinuz-}"; done
printf '==> /flag <==\n'
[ -e /run/reboot-required ] && echo yes
[ -e /var/run/reboot-required ] && echo yes
[ -e /run/reboot-needed ] && echo yes
[ -d /usr/share/update-notifier ] && echo kept
printf '==> /packages <==\n'
cat /run/reboot-required.pkgs 2>/dev/null || cat /var/run/reboot-required.pkgs 2>/dev/null
if command -v needs-restarting >/dev/null 2>&1; then
  said=$(needs-restarting -r 2>/dev/null); status=$?
  printf '==> /restart <==\n%s\n%s\n' $status "$said"
fi
true
"""
    timeout = timedelta(seconds=60)
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> RebootState:
        parts = sections(output.text)
        running = parts.get("running", "").strip()
        if not running:
            raise ParseError(f"No kernel release in: {clean(output.text, 200)!r}")
        reasons = []
        modules, boot = parts.get("kernels", "").split(), parts.get("boot", "").split()
        flag = parts.get("flag", "").split()
        kernels = [name for name in modules if not boot or name in boot or running not in boot]
        newer = [name for name in kernels if _flavour(name) == _flavour(running) and _key(name) > _key(running)]
        if newer:
            reasons.append(f"Kernel {clean(max(newer, key=_key), 80)} is installed, {clean(running, 80)} runs.")
        elif modules and running not in modules and any(_flavour(name) == _flavour(running) for name in modules):
            reasons.append(f"The modules of the running kernel {clean(running, 80)} are no longer installed.")
        if "yes" in flag:
            packages = sorted(set(parts.get("packages", "").split()))
            named = ", ".join(packages[:_PACKAGES_SHOWN]) + (", …" if len(packages) > _PACKAGES_SHOWN else "")
            reasons.append(f"The system asks for it{f', for {clean(named, 300)}' if named else ''}.")
        status, _, said = parts.get("restart", "").partition("\n")
        if status == "1":
            updated = re.findall(r"^\s*\*\s*(\S+)", said, re.MULTILINE)
            named = ", ".join(dict.fromkeys(updated))
            reasons.append(f"Core packages were updated since it started{f': {clean(named, 300)}' if named else ''}.")
        can_tell = running in modules or bool(flag) or status in {"0", "1"}
        return RebootState(True if reasons else False if can_tell else None, tuple(reasons))


def _key(release: str) -> list[int]:
    """Numbers of a kernel release, to compare with: 6.1.0-9 is older than 6.1.0-40."""
    return [int(number) for number in re.findall(r"\d{1,9}", release)]


def _flavour(release: str) -> str:
    """What follows the numbers: amd64, cloud-amd64, generic, pve; numbers in it (el9, deb13) do not count."""
    return re.sub(r"\d", "", re.sub(r"^[\d.+~-]+", "", release))
