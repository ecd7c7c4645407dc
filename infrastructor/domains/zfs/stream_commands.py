"""What sends and receives a ZFS stream, tells how long it will be, and what an interrupted one has brought.

Seen with OpenZFS 2.1.11, 2.3.2 and 2.4.4.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from infrastructor.command import Command
from infrastructor.domains.zfs.change_commands import needs_sudo
from infrastructor.domains.zfs.change_models import InterruptedReceive
from infrastructor.domains.zfs.stream_plan import Stream
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import Capabilities, CommandOutput, Lane
from infrastructor.sanitize import clean

_FLAGS = {"large": "-L", "compressed": "-c", "embedded": "-e", "raw": "-w", "tell": "-vP"}
_TOKEN_VALUE = re.compile(r"^[ \t]+([a-z]+) = (.+)$", re.MULTILINE)
_HEX = re.compile(r"0x[0-9a-f]{1,16}")
_SIZE = re.compile(r"^size\t([0-9]{1,20})$", re.MULTILINE)


@dataclass(frozen=True)
class _Sending(Command[None]):
    """What writes a stream: it only reads the pool, for as long as somebody listens."""

    needs = "zfs"
    lane = Lane.SLOW
    may_sudo = True

    def variant(self, capabilities: Capabilities) -> Self:
        return self.as_root() if needs_sudo(capabilities) else self

    def parse(self, output: CommandOutput) -> None:
        return None


@dataclass(frozen=True)
class SendStream(_Sending):
    """Write a snapshot as a stream, whole or from what the target has; with -vP tell every second how far it is."""

    template = "zfs send {large} {compressed} {embedded} {raw} {tell} -i{base} -I{first} -- {snapshot}"
    flags = _FLAGS
    snapshot: str
    base: str | None = None
    first: str | None = None
    large: bool = False
    compressed: bool = False
    embedded: bool = False
    raw: bool = False
    tell: bool = False

    @classmethod
    def of(cls, stream: Stream, *, tell: bool = False) -> "SendStream":
        base = None if stream.base is None else stream.base.name
        return cls(
            snapshot=stream.snapshot.name,
            base=None if stream.intermediates else base,
            first=base if stream.intermediates else None,
            large=stream.large,
            compressed=stream.compressed,
            embedded=stream.embedded,
            raw=stream.raw,
            tell=tell,
        )


@dataclass(frozen=True)
class ResumeStream(_Sending):
    """Write the rest of a stream of which the target has kept the beginning."""

    template = "zfs send {tell} -t{token}"
    flags = {"tell": "-vP"}  # noqa: RUF012
    token: str
    tell: bool = False


@dataclass(frozen=True)
class ReceiveStream(Command[None]):
    """Take a stream in; what has come stays when it breaks. A new dataset is not mounted, and nothing writes to it."""

    template = "zfs receive -s -u {force} -oreadonly={readonly} -ocanmount={canmount} -- {dataset}"
    flags = {"force": "-F"}  # noqa: RUF012
    needs = "zfs"
    lane = Lane.CHANGE
    may_sudo = True
    dataset: str
    force: bool = False
    readonly: str | None = None
    canmount: str | None = None

    def variant(self, capabilities: Capabilities) -> Self:
        return self.as_root() if needs_sudo(capabilities) else self

    def parse(self, output: CommandOutput) -> None:
        return None


@dataclass(frozen=True)
class EstimateStream(Command[int | None]):
    """How many bytes a stream will have, about."""

    template = "zfs send -n -v -P {large} {compressed} {embedded} {raw} -i{base} -I{first} -- {snapshot}"
    flags = _FLAGS
    needs = "zfs"
    lane = Lane.SLOW
    timeout = timedelta(seconds=120)
    may_sudo = True
    snapshot: str
    base: str | None = None
    first: str | None = None
    large: bool = False
    compressed: bool = False
    embedded: bool = False
    raw: bool = False

    @classmethod
    def of(cls, send: SendStream) -> "EstimateStream":
        return cls(send.snapshot, send.base, send.first, send.large, send.compressed, send.embedded, send.raw)

    def variant(self, capabilities: Capabilities) -> Self:
        return self.as_root() if needs_sudo(capabilities) else self

    def parse(self, output: CommandOutput) -> int | None:
        return size_of(output.text + output.error_text)


def size_of(text: str) -> int | None:
    found = _SIZE.search(text)
    return None if found is None else int(found[1])


@dataclass(frozen=True)
class Rest:
    """What an interrupted receive waits for. `size_bytes` None: not to be had here."""

    snapshot: str | None
    guid: str | None
    base_guid: str | None
    received_bytes: int | None
    size_bytes: int | None


@dataclass(frozen=True)
class ReadToken(Command[Rest]):
    """What a resume token stands for, and how much is left; without the latter where the snapshot is not."""

    template = "zfs send -n -v -P -t{token}"
    needs = "zfs"
    lane = Lane.SLOW
    timeout = timedelta(seconds=120)
    ok_statuses = frozenset(range(256)) - {127}  # 255 where the snapshot is gone
    may_sudo = True
    token: str

    def variant(self, capabilities: Capabilities) -> Self:
        return self.as_root() if needs_sudo(capabilities) else self

    def parse(self, output: CommandOutput) -> Rest:
        return rest_of(f"{output.text}\n{output.error_text}")


def rest_of(text: str) -> Rest:
    """From what zfs prints of a token: an nvlist, `name = value` a line, numbers in hexadecimal."""
    values = dict(_TOKEN_VALUE.findall(text))
    return Rest(
        snapshot=clean(values["toname"], 300) if "toname" in values else None,
        guid=_decimal(values.get("toguid")),
        base_guid=_decimal(values.get("fromguid")),
        received_bytes=_number(values.get("bytes")),
        size_bytes=size_of(text),
    )


def _number(text: str | None) -> int | None:
    return int(text, 16) if text is not None and _HEX.fullmatch(text) else None


def _decimal(text: str | None) -> str | None:
    number = _number(text)
    return None if number is None else str(number)


@dataclass(frozen=True)
class ListInterrupted(Command[tuple[InterruptedReceive, ...]]):
    """Receives that broke off, with what their tokens say."""

    script = r"""
tokens=$(zfs get -H -r -t filesystem,volume -o name,value receive_resume_token) || exit
tab=$(printf '\t')
while IFS=$tab read -r name token; do
  case $token in ''|-) continue;; esac
  printf 'dataset\t%s\n' "$name"
  zfs send -n -v -P -t "$token" 2>/dev/null
done <<END
$tokens
END
:
"""
    needs = "zfs"
    lane = Lane.SLOW
    timeout = timedelta(seconds=120)
    max_output = 4 << 20
    may_sudo = True

    def parse(self, output: CommandOutput) -> tuple[InterruptedReceive, ...]:
        before, *parts = re.split(r"^dataset\t", output.text, flags=re.MULTILINE)
        if before.strip():
            raise ParseError(f"Not known of interrupted receives: {clean(before, 120)!r}")
        return tuple(_interrupted(part) for part in parts)


def _interrupted(part: str) -> InterruptedReceive:
    name, _, text = part.partition("\n")
    rest = rest_of(text)
    return InterruptedReceive(
        dataset=name,
        snapshot=rest.snapshot,
        guid=rest.guid,
        base_guid=rest.base_guid,
        received_bytes=rest.received_bytes,
    )
