"""Streams that do not pass through us: within one device, and from one device to another that it logs in to by itself.

Both are scripts around a command that sends and one that receives, put together as those of every other operation. What
`zfs send -vP` tells of its progress, what goes wrong, and both statuses come out on stdout, a line each.
"""

import shlex
from dataclasses import dataclass, replace

from infrastructor.command import Command
from infrastructor.domains.zfs.stream_commands import ReceiveStream, ResumeStream, SendStream
from infrastructor.ports.ssh import Capabilities, CommandOutput, Lane
from infrastructor.sanitize import clean

_RUN = r"""
exec 3>&1
sends() { eval "$1" 2>&3 </dev/null; printf 'send %s\n' $? >&3; }
slowly() {
  if command -v pv >/dev/null 2>&1; then pv -q -L "$1"
  elif command -v mbuffer >/dev/null 2>&1; then mbuffer -q -R "$1"
  else echo 'neither pv nor mbuffer is installed' >&3; return 97
  fi
}
stream() { if [ -z "$3" ]; then sends "$1" | receives "$2"; else sends "$1" | slowly "$3" | receives "$2"; fi; }
"""
LOCALLY = (
    _RUN
    + r"""
receives() { eval "$1" >&3 2>&3; printf 'receive %s\n' $? >&3; }
stream "$1" "$2" "${3-}"
"""
)

# The key of the other device is pinned, under a name that is no address. The login's own keys are used, none of ours.
_LOGIN = r"""
log_in_by() {
  name=$2 port=$3 user=$4 address=$5
  known=${HOME:-/}/.cache/infrastructor/known_hosts-$name
  (umask 077; mkdir -p "${known%/*}"; printf '%s\n' "$1" >"$known") || exit 98
}
log_in() {
  ssh -T -o BatchMode=yes -o StrictHostKeyChecking=yes -o "HostKeyAlias=$name" -o CheckHostIP=no \
    -o "UserKnownHostsFile=\"$known\"" -o GlobalKnownHostsFile=/dev/null -o UpdateHostKeys=no \
    -o ConnectTimeout=20 -o ServerAliveInterval=15 -o ServerAliveCountMax=3 -o ForwardAgent=no \
    -o ForwardX11=no -o ControlMaster=no -o ControlPath=none -o Compression=no \
    -p "$port" -l "$user" -- "$address" "$1"
}
"""
DIRECTLY = (
    _RUN
    + _LOGIN
    + r"""
receives() { log_in "$1" >&3 2>&3; printf 'receive %s\n' $? >&3; }
log_in_by "$3" "$4" "$5" "$6" "$7"
stream "$1" "$2" "${8-}"
"""
)
TRY = (
    _LOGIN
    + r"""
log_in_by "$2" "$3" "$4" "$5" "$6"
log_in "$1" </dev/null
status=$?
for key in "${HOME:-/}"/.ssh/id_*.pub; do if [ -r "$key" ]; then head -n 1 "$key"; break; fi; done
exit $status
"""
)
_READY = "infrastructor-ready"


def text_of(command: Command[None]) -> str:
    """A command as a word that a script runs."""
    text = command.render().text
    return f"sudo -n -- {text}" if command.sudo else text


def remote(text: str) -> str:
    """The one line that the other device's login shell sees: every shell reads single quotes the same way."""
    return "exec /bin/sh -c " + shlex.quote(
        "PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH; exec " + text
    )


@dataclass(frozen=True)
class Login:
    """How one device logs in to another. `keys` are lines of a known_hosts file, under `name`."""

    keys: str
    name: str
    port: int
    user: str
    address: str


@dataclass(frozen=True)
class StreamLocally(Command[None]):
    """Send from one dataset of a device into another of the same device."""

    script = LOCALLY
    template = "{sending} {receiving} {limit}"
    lane = Lane.CHANGE
    send: SendStream | ResumeStream
    receive: ReceiveStream
    limit: int | None = None

    @property
    def sending(self) -> str:
        return text_of(self.send)

    @property
    def receiving(self) -> str:
        return text_of(self.receive)

    def variant(self, capabilities: Capabilities) -> "StreamLocally":
        return replace(self, send=self.send.variant(capabilities), receive=self.receive.variant(capabilities))

    def parse(self, output: CommandOutput) -> None:
        return None


@dataclass(frozen=True)
class _ByLogin:
    """What is read of the login by both commands that need it."""

    login: Login

    @property
    def keys(self) -> str:
        return self.login.keys

    @property
    def name(self) -> str:
        return self.login.name

    @property
    def port(self) -> int:
        return self.login.port

    @property
    def user(self) -> str:
        return self.login.user

    @property
    def address(self) -> str:
        return self.login.address


@dataclass(frozen=True)
class StreamDirectly(_ByLogin, Command[None]):
    """Send from a device to another one that it logs in to by itself. `receive` is as it runs there."""

    script = DIRECTLY
    template = "{sending} {receiving} {keys} {name} {port} {user} {address} {limit}"
    lane = Lane.CHANGE
    send: SendStream | ResumeStream
    receive: ReceiveStream
    limit: int | None = None

    @property
    def sending(self) -> str:
        return text_of(self.send)

    @property
    def receiving(self) -> str:
        return remote(text_of(self.receive))

    def variant(self, capabilities: Capabilities) -> "StreamDirectly":
        return replace(self, send=self.send.variant(capabilities))

    def parse(self, output: CommandOutput) -> None:
        return None


@dataclass(frozen=True)
class Tried:
    """Whether a device could log in to another, what was said, and the key it would log in with."""

    ready: bool
    said: str
    public_key: str | None


@dataclass(frozen=True)
class TryLogin(_ByLogin, Command[Tried]):
    """Log in from a device to another one, by its own keys, and do nothing there."""

    script = TRY
    template = "{greeting} {keys} {name} {port} {user} {address}"
    lane = Lane.CHANGE
    ok_statuses = frozenset(range(256))

    @property
    def greeting(self) -> str:
        return remote(f"echo {_READY}")

    def parse(self, output: CommandOutput) -> Tried:
        lines = output.text.splitlines()
        keys = [line for line in lines if line.startswith(("ssh-", "ecdsa-", "sk-"))]
        return Tried(
            ready=output.exit_status == 0 and _READY in lines,
            said=clean(" ".join(output.error_text.split()), 300),
            public_key=clean(keys[0], 1000) if keys else None,
        )
