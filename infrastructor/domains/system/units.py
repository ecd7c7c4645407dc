"""What systemd knows of failed units and of timers.

`systemctl show` prints the same properties on every version since 229; its times are made UTC by TZ.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from infrastructor.command import Command
from infrastructor.domains.system.models import FailedService, Timer
from infrastructor.errors import ParseError
from infrastructor.masking import mask_secrets
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.sanitize import clean

_SHOWN_LOG = 300
_OVERDUE = timedelta(minutes=2)
_HEADER = re.compile(r"^==> /(\w+)(?:/([^\n]+))? <==\n", re.MULTILINE)
_TIME = re.compile(r"^[A-Z][a-z]{2} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)? UTC$")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|min|h|d|w|month|y)(?= |$)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800, "month": 2629800}
_SECONDS["y"] = 31557600
_EXITED, _KILLED, _DUMPED = "1", "2", "3"


def blocks(text: str) -> Iterator[Mapping[str, str]]:
    """`Name=value` lines of one unit after the other, an empty line between them."""
    for block in text.strip("\n").split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" in values:
            yield values


def moment(text: str | None) -> datetime | None:
    """A time as systemd prints it in UTC; None for one that never was."""
    match = _TIME.match(text or "")
    try:
        return datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) if match else None
    except ValueError:
        return None


def span(text: str | None) -> float | None:
    """`1h 2min 3.5s` in seconds; None for nothing and for infinity."""
    parts = _SPAN.findall(text or "")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts) if parts else None


@dataclass(frozen=True)
class ReadFailedUnits(Command[Mapping[str, FailedService]]):
    """Why units failed: result, exit status, since when, and the last thing each logged."""

    script = r"""
printf '==> /units <==\n'
p=Id,Description,Result,ExecMainCode,ExecMainStatus,StateChangeTimestamp,NRestarts,SubState
TZ=UTC systemctl show -p $p -- "$@"
command -v journalctl >/dev/null 2>&1 || exit 0
for u do
  printf '\n==> /log/%s <==\n' "$u"
  journalctl --quiet --no-pager --unit="$u" --lines=20 --reverse --output=cat 2>/dev/null
done
true
"""
    template = "{units}"
    timeout = timedelta(seconds=20)
    lane = Lane.SLOW
    units: tuple[str, ...] = ()

    def parse(self, output: CommandOutput) -> Mapping[str, FailedService]:
        pieces = _HEADER.split(output.text)
        parts: dict[tuple[str, str | None], str] = {}
        for kind, name, text in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
            parts.setdefault((kind, name), text)  # a unit may log what looks like a header; ours come first
        if ("units", None) not in parts:
            raise ParseError(f"Not an answer of systemctl show: {clean(output.text, 200)!r}")
        found = {}
        for values in blocks(parts["units", None]):
            name, code, status = values["Id"], values.get("ExecMainCode"), values.get("ExecMainStatus", "")
            number = int(status) if re.fullmatch(r"\d{1,5}", status) else None
            restarts = values.get("NRestarts", "")
            found[name] = FailedService(
                name=name,
                state="failed",
                detail=values.get("SubState") or None,
                description=values.get("Description") or None,
                result=values.get("Result") or None,
                exit_code=number if code == _EXITED else None,
                signal=number if code in {_KILLED, _DUMPED} else None,
                since=moment(values.get("StateChangeTimestamp")),
                restarts=int(restarts) if re.fullmatch(r"\d{1,9}", restarts) else None,
                last_log=_last_log(parts.get(("log", name), "")),
            )
        return found


def _last_log(text: str) -> str | None:
    """The newest line that is not systemd's own report of the failure; its report where there is no other."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    own = [line for line in lines if not _REPORT.match(line)]
    return clean(mask_secrets((own or lines)[0][: 2 * _SHOWN_LOG]), _SHOWN_LOG) if lines else None


_REPORT = re.compile(
    r"^(Failed to start|Started|Starting|Stopped|Stopping|Scheduled restart|Dependency failed)\b|^\S+\.\w+: "
)


@dataclass(frozen=True)
class ReadTimers(Command[tuple[Timer, ...]]):
    """Timers of systemd: what they start, when they last did and next will."""

    script = r"""
command -v systemctl >/dev/null 2>&1 || exit 127
read -r up rest </proc/uptime
printf '==> /clock <==\n%s %s\n==> /timers <==\n' "$(date +%s)" "$up"
p=Id,Unit,ActiveState,SubState,NextElapseUSecRealtime,NextElapseUSecMonotonic,LastTriggerUSec
TZ=UTC systemctl show -p $p -- '*.timer'
"""
    timeout = timedelta(seconds=20)
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> tuple[Timer, ...]:
        pieces = _HEADER.split(output.text)
        parts = dict(zip(pieces[1::3], pieces[3::3], strict=True))
        match = re.match(r"^(\d{1,11}) (\d{1,10}(?:\.\d+)?)\n", parts.get("clock", ""))
        if match is None or "timers" not in parts:
            raise ParseError(f"Not an answer of systemctl show: {clean(output.text, 200)!r}")
        now = datetime.fromtimestamp(int(match[1]), UTC)
        return tuple(_timer(values, now, float(match[2])) for values in blocks(parts["timers"]))


def _timer(values: Mapping[str, str], now: datetime, uptime_s: float) -> Timer:
    due = moment(values.get("NextElapseUSecRealtime"))
    monotonic = span(values.get("NextElapseUSecMonotonic"))
    if monotonic:
        since_boot = now + timedelta(seconds=min(monotonic, 1e9) - uptime_s)
        due = min(due or since_boot, since_boot).replace(microsecond=0)
    waiting = values.get("ActiveState") == "active" and values.get("SubState") == "waiting"
    return Timer(
        name=values["Id"],
        unit=values.get("Unit") or None,
        active=values.get("ActiveState") == "active",
        last=moment(values.get("LastTriggerUSec")),
        next=due,
        overdue=waiting and due is not None and due < now - _OVERDUE,
    )
