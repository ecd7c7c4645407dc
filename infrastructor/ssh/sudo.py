"""Lines that need root, for logins that sudo lets run a shell, or only single programs, or nothing.

A root shell that stays (`sudo -n /bin/sh`) costs nothing more per line, so it is tried first. Where sudoers names
programs (`NOPASSWD: /usr/sbin/smartctl`) that shell is refused, and a plain command goes as `sudo -n -- PROGRAM …`
through the login's own shell. What sudo refused is remembered for a while: each attempt is a line in its log.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID

from infrastructor.errors import CommandNotAvailable
from infrastructor.ports.ssh import CommandLine, CommandOutput
from infrastructor.ssh.link import DeviceLink

REMEMBERED_S = 300.0
# Of sudo 1.8 and 1.9, and of sudo-rs.
_REFUSED = re.compile(
    r"password is required|interactive authentication is required|is not allowed to|may not run|not in the sudoers"
    r"|must have a tty|terminal is required|I'm sorry|I'm afraid"
)
_MISSING = re.compile(r"^sudo(?:-rs)?: .*command not found", re.MULTILINE)

Send = Callable[[CommandLine], Awaitable[CommandOutput]]


class Sudo:
    """What sudo lets us do on each link."""

    def __init__(self) -> None:
        self._no_shell: dict[UUID, tuple[DeviceLink, float]] = {}

    async def run(self, link: DeviceLink, line: CommandLine, send: Send) -> CommandOutput:
        """Run a line as root by what the login may do. Raises `CommandNotAvailable` naming the rule it needs."""
        if not self._knows_refusal(link):
            try:
                return await send(line)
            except CommandNotAvailable as error:
                if error.details.get("program") != "sudo" or error.details.get("installed") is False:
                    raise
                self._no_shell[link.device.id] = (link, asyncio.get_running_loop().time())
        if not line.plain:
            raise _needs_rule(link, "/bin/sh", "It is a script, and sudo there allows no shell")
        output = await send(replace(line, text=f"sudo -n -- {line.text}", sudo=False))
        said = output.error_text
        if output.exit_status == 1 and _MISSING.search(said) and line.needs:
            raise link.lacks(line.needs)
        if output.exit_status == 1 and _REFUSED.search(said):
            raise _needs_rule(link, line.needs or line.text.split(" ", 1)[0], said.splitlines()[-1][:200])
        return output

    def forget(self, device_id: UUID) -> None:
        self._no_shell.pop(device_id, None)

    def _knows_refusal(self, link: DeviceLink) -> bool:
        known = self._no_shell.get(link.device.id)
        return known is not None and known[0] is link and asyncio.get_running_loop().time() - known[1] < REMEMBERED_S


def _needs_rule(link: DeviceLink, program: str, why: str) -> CommandNotAvailable:
    user = (link.capabilities.user if link.capabilities else None) or link.device.ssh_username or "USER"
    path = program if program.startswith("/") else f"/usr/sbin/{program}, /usr/bin/{program}"
    return CommandNotAvailable(
        f"sudo on {link.name} does not let the login user run {program} without a password: {why}.".replace("..", "."),
        hint=f"Add this line to sudoers there with visudo: {user} ALL=(root) NOPASSWD: {path}. "
        "'infrastructor sudoers' prints the exact rules; or log in as root.",
        program="sudo",
    )
