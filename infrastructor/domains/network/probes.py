"""What connectivity_check runs on a device: look a name up, open a connection, ask for the head of a page.

Each script takes the first of several programs that is there and works, and says which. All of them end by
themselves within ten seconds, and none of them writes what it was sent.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from infrastructor.command import Command
from infrastructor.domains.network.addresses import Address, parse_address
from infrastructor.domains.network.models import Outcome
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.sanitize import clean

_ANY_STATUS = frozenset(range(256)) - {127}
_SAID = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How one try ended."""

    outcome: Outcome
    detail: str
    tool: str | None
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """What a name means on the device."""

    attempt: Attempt
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The head of an answer over HTTP, and the certificate it came with."""

    attempt: Attempt
    status: int | None = None
    redirects_to: str | None = None
    certificate_ends: datetime | None = None
    certificate_issuer: str | None = None


@dataclass(frozen=True)
class ResolveName(Command[Lookup]):
    """Look a name up as the device's programs do: /etc/hosts first, then DNS."""

    template = "{name}"
    script = r"""
limit=; command -v timeout >/dev/null && limit='timeout 5'
if command -v getent >/dev/null; then
  echo "tool getent"; $limit getent ahosts "$1"; echo "status $?"
elif command -v python3 >/dev/null; then
  echo "tool python3"
  $limit python3 -c 'import socket, sys
for row in socket.getaddrinfo(sys.argv[1], None, type=socket.SOCK_STREAM): print(row[4][0])' "$1" 2>&1
  echo "status $?"
elif command -v nslookup >/dev/null; then
  echo "tool nslookup"
  [ -r /etc/hosts ] && while read -r address names; do
    for name in $names; do [ "$name" = "$1" ] && echo "$address"; done
  done </etc/hosts
  $limit nslookup "$1" 2>&1 | while read -r word value rest; do
    case $word in
      Name:) named=1 ;;
      Address:|Addresses:|Address) [ -n "$named" ] && echo "${value##*: } $rest" ;;
    esac
  done
  echo "status $?"
else
  echo "tool none"
fi
"""
    timeout = timedelta(seconds=12)
    max_output = 1 << 16
    lane = Lane.SLOW
    ok_statuses = _ANY_STATUS
    name: str

    def parse(self, output: CommandOutput) -> Lookup:
        found: dict[Address, None] = {}
        for line in output.text.splitlines():
            for word in line.split()[:2]:
                address = parse_address(word)
                if address is not None:
                    found[address] = None
                    break
        tool = _value(output.text, "tool")
        if tool in (None, "none"):
            missing = Attempt(outcome=Outcome.NO_TOOL, detail="No getent, python3 or nslookup.", tool=None)
            return Lookup(attempt=missing, addresses=())
        timed_out = _value(output.text, "status") in {"124", "143"}
        outcome = Outcome.OK if found else Outcome.TIMEOUT if timed_out else Outcome.UNRESOLVED
        detail = f"Addresses: {len(found)}." if found else "No answer in 5 s." if timed_out else "No such name."
        return Lookup(attempt=Attempt(outcome=outcome, detail=detail, tool=tool), addresses=tuple(found)[:20])


@dataclass(frozen=True)
class OpenConnection(Command[Attempt]):
    """Open a TCP connection and close it again."""

    template = "{address} {port}"
    script = r"""
if command -v timeout >/dev/null; then
  if command -v bash >/dev/null; then
    said=$(timeout 5 bash -c 'a=$EPOCHREALTIME; exec 3<>"/dev/tcp/$0/$1" && echo "from $a to $EPOCHREALTIME"' \
      "$1" "$2" 2>&1); code=$?
    case $said in
      *"/dev/tcp/"*"No such file"*) ;;
      *) printf 'tool bash\nstatus %s\n%s\n' $code "$said"; exit 0 ;;
    esac
  fi
  if command -v python3 >/dev/null; then
    said=$(timeout 6 python3 -c 'import socket, sys, time
a = time.time()
socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()
print("from %.6f to %.6f" % (a, time.time()))' "$1" "$2" 2>&1); code=$?
    printf 'tool python3\nstatus %s\n%s\n' $code "$said"; exit 0
  fi
  for nc in nc ncat 'busybox nc'; do
    command -v ${nc%% *} >/dev/null || continue
    $nc -h 2>&1 | grep -q -e '-z' && scan=-zv || scan=
    said=$(timeout 5 $nc $scan -w 5 "$1" "$2" 2>&1 >/dev/null </dev/null); code=$?
    printf 'tool nc\nstatus %s\n%s\n' $code "$said"; exit 0
  done
fi
echo "tool none"
"""
    timeout = timedelta(seconds=15)
    max_output = 1 << 16
    lane = Lane.SLOW
    ok_statuses = _ANY_STATUS
    address: str
    port: int

    def parse(self, output: CommandOutput) -> Attempt:
        tool = _value(output.text, "tool")
        if tool in (None, "none"):
            return Attempt(outcome=Outcome.NO_TOOL, detail="No bash, python3 or nc with timeout.", tool=None)
        status = _value(output.text, "status")
        said = " ".join(output.text.splitlines()[2:])
        if status == "0":
            return Attempt(outcome=Outcome.OK, detail="Connected.", tool=tool, latency_ms=_elapsed(said))
        outcome = Outcome.TIMEOUT if status in {"124", "143"} else outcome_of(said)
        if tool == "nc" and outcome is Outcome.FAILED and not said.strip():
            outcome = Outcome.REFUSED  # a BusyBox without messages; what takes long was killed above
        return Attempt(outcome=outcome, detail=_DETAILS.get(outcome) or _said(said), tool=tool)


@dataclass(frozen=True)
class HeadPage(Command[Page]):
    """Ask for the head of a page at a known address, following no redirect; over TLS also look at the certificate."""

    template = "{scheme} {host} {address} {port} {path}"
    # curl is bound to the address that was checked, as are nc and openssl; an address with colons goes in brackets.
    script = r"""
scheme=$1 host=$2 address=$3 port=$4 path=$5
case $address in *:*) bracketed="[$address]" ;; *) bracketed=$address ;; esac
case $host in *:*) named="[$host]" ;; *) named=$host ;; esac
request() {
  printf 'HEAD %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: infrastructor\r\n' "$path" "$named"
  printf 'Connection: close\r\n\r\n'
}
answer() { tr -d '\r' | while read -r line; do
  case $line in
    HTTP/*) set -- $line; echo "http $2" ;;
    [Ll]ocation:*) echo "location ${line#*: }" ;;
    '') break ;;
  esac
done; }
limit=; command -v timeout >/dev/null && limit='timeout 10'
if command -v curl >/dev/null; then
  echo "tool curl"
  curl -q -sS -I -o /dev/null --noproxy '*' --connect-timeout 5 --max-time 10 --globoff --proto =http,https \
    --resolve "$host:$port:$bracketed" -A infrastructor \
    -w 'http %{http_code}\nlocation %{redirect_url}\ntotal %{time_total}\n' -- "$scheme://$named:$port$path" 2>&1
  echo "status $?"
elif [ "$scheme" = http ] && [ -n "$limit" ] && command -v bash >/dev/null; then
  echo "tool bash"
  request | $limit bash -c 'exec 3<>"/dev/tcp/$0/$1" && cat >&3 && cat <&3' "$address" "$port" 2>/dev/null | answer
elif [ "$scheme" = http ] && [ -n "$limit" ] && command -v nc >/dev/null; then
  echo "tool nc"; { request; sleep 3; } | $limit nc -w 5 "$address" "$port" 2>/dev/null | answer
elif [ "$scheme" = https ] && [ -n "$limit" ] && command -v openssl >/dev/null; then
  echo "tool openssl"
  { request; sleep 3; } | $limit openssl s_client -quiet -verify_quiet -verify_return_error \
    -connect "$bracketed:$port" -servername "$host" 2>/dev/null | answer
else
  echo "tool none"
fi
if [ "$scheme" = https ] && command -v openssl >/dev/null; then
  $limit openssl s_client -connect "$bracketed:$port" -servername "$host" </dev/null 2>/dev/null |
    openssl x509 -noout -enddate -issuer 2>/dev/null
fi
true
"""
    timeout = timedelta(seconds=25)
    max_output = 1 << 16
    lane = Lane.SLOW
    ok_statuses = _ANY_STATUS
    scheme: Literal["http", "https"]
    host: str
    address: str
    port: int
    path: str

    def parse(self, output: CommandOutput) -> Page:
        tool = _value(output.text, "tool")
        status = int(code) if (code := _value(output.text, "http") or "").isdecimal() and len(code) == 3 else 0  # noqa: PLR2004
        location = _value(output.text, "location")
        return Page(
            attempt=self._attempt(output.text, tool, status),
            status=status or None,
            redirects_to=_said(location.partition("?")[0]) if location else None,
            certificate_ends=_date(_after(output.text, "notAfter=")),
            certificate_issuer=_said(_after(output.text, "issuer=")) or None,
        )

    def _attempt(self, text: str, tool: str | None, status: int) -> Attempt:
        if tool in (None, "none"):
            program = "curl or openssl" if self.scheme == "https" else "curl, bash or nc"
            return Attempt(outcome=Outcome.NO_TOOL, detail=f"No {program}.", tool=None)
        if status:
            seconds = _value(text, "total") or ""
            latency = float(seconds) * 1000 if re.fullmatch(r"[0-9]{1,6}\.[0-9]{1,9}", seconds) else None
            outcome = Outcome.OK if status < 400 else Outcome.HTTP_ERROR  # noqa: PLR2004
            return Attempt(
                outcome=outcome,
                detail=f"HTTP {status}.",
                tool=tool,
                latency_ms=None if latency is None else round(latency, 1),
            )
        code = _value(text, "status") or ""
        said = next((line for line in text.splitlines() if line.startswith("curl:")), "")
        outcome = _CURL.get(code, outcome_of(said)) if tool == "curl" else Outcome.FAILED
        if tool == "openssl":
            outcome, said = Outcome.TLS_ERROR, "No answer over verified TLS."
        return Attempt(outcome=outcome, detail=_said(said) or "No answer of HTTP.", tool=tool)


# curl's exit statuses; 60 and its kin are about certificates.
_CURL = {
    "6": Outcome.UNRESOLVED, "28": Outcome.TIMEOUT,
    **dict.fromkeys(("35", "51", "53", "54", "58", "59", "60", "64", "66", "77", "80", "82", "83"), Outcome.TLS_ERROR),
}  # fmt: skip
_SAYINGS = (
    ("refused", Outcome.REFUSED),
    ("timed out", Outcome.TIMEOUT),
    ("timeout", Outcome.TIMEOUT),
    ("unreachable", Outcome.UNREACHABLE),
    ("no route", Outcome.UNREACHABLE),
    ("not permitted", Outcome.UNREACHABLE),
)


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DETAILS = {
    Outcome.REFUSED: "Connection refused: the host is there, and nothing listens or a firewall rejects.",
    Outcome.TIMEOUT: "No answer in 5 s: the host is away, or a firewall drops.",
    Outcome.UNREACHABLE: "No way there: a route or the host is missing.",
}


def outcome_of(said: str) -> Outcome:
    """What a program's message means; programs quote the system's."""
    lowered = said.lower()
    return next((outcome for words, outcome in _SAYINGS if words in lowered), Outcome.FAILED)


def _value(text: str, key: str) -> str | None:
    """The rest of the first line that starts with this word."""
    return next((line[len(key) + 1 :].strip() for line in text.splitlines() if line.startswith(f"{key} ")), None)


def _after(text: str, start: str) -> str:
    return next((line[len(start) :].strip() for line in text.splitlines() if line.startswith(start)), "")


def _elapsed(said: str) -> float | None:
    match = re.search(r"from ([0-9]{1,12})[.,]([0-9]{6}) to ([0-9]{1,12})[.,]([0-9]{6})", said)
    if match is None:
        return None
    start, end = (int(match[n]) * 1_000_000 + int(match[n + 1]) for n in (1, 3))
    return round((end - start) / 1000, 2) if end >= start else None


def _date(text: str) -> datetime | None:
    """`Nov 21 12:00:00 2026 GMT`, whatever the locale of this server."""
    match = re.fullmatch(r"([A-Z][a-z]{2}) +([0-9]{1,2}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([0-9]{4}) GMT", text)
    if match is None or match[1] not in _MONTHS:
        return None
    try:
        day, hour, minute, second, year = (int(match[n]) for n in (2, 3, 4, 5, 6))
        return datetime(year, _MONTHS.index(match[1]) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def _said(text: str) -> str:
    return clean(text.strip(), _SAID)
