"""CHANGE lines: at most once, and with an outcome that can be read after a lost connection.

The line runs in a session of its own on the device, and leaves output and exit status in a result folder whose
name comes from the operation id and the step. `mkdir` of that folder is what makes it run at most once: the same
script sent again finds the folder and waits for its outcome instead. So after a lost connection it is simply sent
again.

A change that is to stop is found by the same folder: its processes are told, then killed, but not the shell that
writes down how they ended. So whoever waits for the outcome reads the true one. A change that has not begun finds
its folder taken, and never begins.
"""

import asyncio
import contextlib
import hashlib
import shlex
from uuid import UUID, uuid4

from infrastructor.errors import (
    Cancelled,
    CommandFailed,
    CommandNotAvailable,
    CommandTimeout,
    InfrastructorError,
    OutcomeUnknown,
    SSHConnectionError,
)
from infrastructor.ports.ssh import CommandLine, CommandOutput, Lane
from infrastructor.ssh.link import NOT_FOUND, DeviceLink
from infrastructor.ssh.request import Request

RECONNECT_S = 30.0  # how long after its timeout a vanished device is waited for
STOP_GRACE_S = 5.0  # between SIGTERM and SIGKILL
STOP_RETRY_S = 0.3  # a device that is away, or a change that is just beginning
KEPT_DAYS = 7  # a folder's exit status stays so long, so that its id cannot run again

_FOLDERS = """
u=$(id -u)
set -- "${HOME:-/}/.cache/infrastructor" "/var/tmp/infrastructor-$u" "/tmp/infrastructor-$u" "/dev/shm/infrastructor-$u"
"""

# The first line of the output says what came of it: `R status` ran, `S status` was stopped, `C status` ran and was
# cleaned since, `U` was interrupted, `N reason` did not start.
_SCRIPT = """
m=$(umask); umask 077; d=; new=
for b in "$@"; do
  if [ -O "$b" ] && [ -d "$b/$id" ]; then d=$b/$id; break; fi
done
if [ -z "$d" ]; then
  command -v setsid >/dev/null 2>&1 || { echo "N setsid"; exit 0; }
  for b in "$@"; do
    mkdir -p "$b" 2>/dev/null
    { [ -O "$b" ] && [ ! -L "$b" ]; } || continue
    if mkdir "$b/$id" 2>/dev/null; then
      if printf '%s\\n' "$cmd" 2>/dev/null >"$b/$id/cmd" && [ -s "$b/$id/cmd" ]; then d=$b/$id; new=1; break; fi
      rm -rf "$b/$id"
    elif [ -d "$b/$id" ]; then d=$b/$id; break
    fi
  done
  [ -n "$d" ] || { echo "N folder"; exit 0; }
fi
if [ -n "$new" ]; then
  setsid /bin/sh -c 'echo $$ >"$1/pid"; umask "$2"
    /bin/sh "$1/cmd" </dev/null >"$1/out" 2>"$1/err"
    echo $? >"$1/status"; mv "$1/status" "$1/rc"' sh "$d" "$m" </dev/null >/dev/null 2>&1 &
  wait $!
fi
n=0
while [ ! -e "$d/rc" ]; do
  if [ -e "$d/pid" ]; then
    if ! kill -0 "$(cat "$d/pid")" 2>/dev/null && [ ! -e "$d/rc" ]; then echo U; exit 0; fi
  else
    n=$((n+1)); if [ $n -gt 50 ]; then echo U; exit 0; fi
  fi
  sleep 0.1 2>/dev/null || sleep 1
done
k=R; [ ! -e "$d/stop" ] || k=S
if [ -e "$d/out" ]; then
  echo "$k $(cat "$d/rc")"; head -c "$cap" "$d/out"; head -c "$cap" "$d/err" >&2
elif [ $k = S ]; then
  echo "S $(cat "$d/rc")"
else
  echo "C $(cat "$d/rc")"
fi
exit 0
"""

# Says `D` when it had ended already, `T` when its processes were told, `S` when it will never begin, `W` when it is
# just beginning, `U` when its processes cannot be found. A process id may be another's by now, so the shell that it
# names must name the folder.
_STOP = """
d=
for b in "$@"; do
  if [ -O "$b" ] && [ -d "$b/$id" ]; then d=$b/$id; break; fi
done
if [ -z "$d" ]; then
  umask 077
  for b in "$@"; do
    mkdir -p "$b" 2>/dev/null
    { [ -O "$b" ] && [ ! -L "$b" ]; } || continue
    if mkdir "$b/$id" 2>/dev/null; then
      : >"$b/$id/stop"; echo 143 >"$b/$id/status"; mv "$b/$id/status" "$b/$id/rc"; echo S; exit 0
    elif [ -d "$b/$id" ]; then d=$b/$id; break
    fi
  done
  [ -n "$d" ] || { echo U; exit 0; }
fi
if [ -e "$d/rc" ]; then echo D; exit 0; fi
leader=$(cat "$d/pid" 2>/dev/null)
[ -n "$leader" ] || { echo W; exit 0; }
case "$(tr '\\000' ' ' 2>/dev/null <"/proc/$leader/cmdline")" in *"$d"*) ;; *) echo U; exit 0;; esac
: >"$d/stop"
for stat in /proc/[0-9]*/stat; do
  { read -r fields <"$stat"; } 2>/dev/null || continue
  member=${stat#/proc/}; member=${member%/stat}
  set -- ${fields##*) }
  if [ "$4" = "$leader" ] && [ "$member" != "$leader" ]; then kill "-$signal" "$member" 2>/dev/null; fi
done
echo T
exit 0
"""

_CLEAN = f"""
for b in "$@"; do
  [ -O "$b" ] && [ -d "$b" ] || continue
  (cd "$b/$id" 2>/dev/null && rm -f cmd out err pid)
  find "$b" -mindepth 1 -maxdepth 1 -type d -mtime +{KEPT_DAYS} -exec rm -rf {{}} + 2>/dev/null
done
exit 0
"""


def script(name: str, text: str, cap: int) -> str:
    """Run the line unless it ran already, wait for it, print its outcome. Safe to send any number of times."""
    return f"{_FOLDERS}id={shlex.quote(name)} cap={cap + 1} cmd={shlex.quote(text)}\n{_SCRIPT}"


def stop_script(name: str, signal: str) -> str:
    """Send the signal to the processes of the line; a line that has not begun never will."""
    return f"{_FOLDERS}id={shlex.quote(name)} signal={shlex.quote(signal)}\n{_STOP}"


def folder_name(operation_id: UUID | None, line: CommandLine) -> str:
    """One folder per operation and step of it, since an operation may run several lines, the same one twice too.

    The text is part of the name because sudo may have one step sent in two forms.
    """
    digest = hashlib.sha256(f"{line.sudo}\n{line.text}".encode()).hexdigest()[:16]
    return f"{operation_id or uuid4()}-{line.step}-{digest}"


class DetachedRuns:
    """The CHANGE lines of this process. A caller that leaves does not stop one."""

    def __init__(self) -> None:
        self._runs: dict[tuple[UUID, str], asyncio.Task[CommandOutput]] = {}
        self._cleaning: set[asyncio.Task[None]] = set()

    async def run(self, link: DeviceLink, line: CommandLine, operation_id: UUID | None) -> CommandOutput:
        """The outcome of the line, which runs at most once per operation id and step. Raises `OutcomeUnknown`."""
        name = folder_name(operation_id, line)
        key = (link.device.id, name)
        task = self._runs.get(key)
        if task is None:
            task = self._runs[key] = asyncio.get_running_loop().create_task(self._run(link, line, name))
            task.add_done_callback(lambda done: self._done(key, done))
            if line.stop is not None:
                stopper = asyncio.get_running_loop().create_task(self._stop_when_told(link, line, name))
                task.add_done_callback(lambda _: stopper.cancel())
        return await asyncio.shield(task)

    def _done(self, key: tuple[UUID, str], task: asyncio.Task[CommandOutput]) -> None:
        self._runs.pop(key, None)
        if not task.cancelled():
            task.exception()  # its caller may have left

    async def _run(self, link: DeviceLink, line: CommandLine, name: str) -> CommandOutput:
        cap = line.max_output_bytes
        wire = CommandLine(
            text=script(name, line.text, cap),
            timeout_s=line.timeout_s,
            max_output_bytes=cap + 64,
            lane=Lane.SLOW,
            sudo=line.sudo,
        )
        output = await self._ask(link, wire)
        header, _, stdout = output.stdout.partition(b"\n")
        kind, _, value = header.decode("ascii", "replace").partition(" ")
        if kind == "N":
            raise _not_started(link, value)
        if kind not in {"R", "S", "C"} or not value.isdigit():
            raise OutcomeUnknown(
                f"The command on {link.name} was interrupted before it ended: it was killed, or the device restarted."
            )
        if kind in {"R", "S"}:
            task = asyncio.get_running_loop().create_task(self._clean(link, line, name))
            self._cleaning.add(task)
            task.add_done_callback(self._cleaning.discard)
        status = int(value)
        if kind == "S" and status != 0:  # one that ended well in spite of the signal was done
            raise Cancelled(
                f"The command on {link.name} was stopped before it ended (status {status}).",
                hint="What it had done until then stays: read the state back.",
            )
        if status == NOT_FOUND and line.needs:
            raise link.lacks(line.needs)
        return CommandOutput(
            exit_status=status,
            stdout=stdout[:cap],
            stderr=output.stderr[:cap],
            duration_s=output.duration_s,
            truncated=kind == "C" or len(stdout) > cap or len(output.stderr) > cap,
        )

    async def _ask(self, link: DeviceLink, wire: CommandLine) -> CommandOutput:
        """Send the script until its answer arrives. Only the first attempt may fail as if nothing had happened."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wire.timeout_s + RECONNECT_S
        sent = False
        wait = 0.1
        while True:
            request = Request(wire)
            failure: InfrastructorError
            try:
                return await link.ask(request)
            except CommandTimeout as error:
                raise OutcomeUnknown(
                    f"The command on {link.name} still runs after {wire.timeout_s:g} s.",
                    hint="It goes on there. Read the state back, or ask for this operation's outcome again later.",
                ) from error
            except (SSHConnectionError, OutcomeUnknown, CommandFailed) as error:
                failure = error
            sent = sent or request.sent
            if not sent:
                raise failure
            if loop.time() + wait > deadline or link.closing:
                raise OutcomeUnknown(
                    f"{link.name} was lost while the command ran there, and did not come back: {failure.message}"
                ) from failure
            await asyncio.sleep(wait)
            wait = min(2.0, wait * 2)

    async def _stop_when_told(self, link: DeviceLink, line: CommandLine, name: str) -> None:
        """Cancelled when the line has ended, however it did."""
        assert line.stop is not None  # noqa: S101
        await line.stop.wait()
        signal = "TERM"
        while True:
            text = stop_script(name, signal)
            pause = STOP_RETRY_S
            with contextlib.suppress(InfrastructorError):
                output = await link.ask(Request(CommandLine(text=text, sudo=line.sudo, lane=Lane.FAST)))
                if output.stdout.startswith(b"T"):
                    signal, pause = "KILL", STOP_GRACE_S
                elif not output.stdout.startswith(b"W"):
                    return
            await asyncio.sleep(pause)

    async def _clean(self, link: DeviceLink, line: CommandLine, name: str) -> None:
        """Leave only the exit status, which keeps the id from running again."""
        text = f"{_FOLDERS}id={shlex.quote(name)}\n{_CLEAN}"
        with contextlib.suppress(InfrastructorError):
            await link.ask(Request(CommandLine(text=text, sudo=line.sudo, lane=Lane.FAST)))

    async def close(self) -> None:
        """Stop waiting for outcomes. What runs on the devices goes on."""
        tasks = [*self._runs.values(), *self._cleaning]
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=1.0)
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.wait(pending)


def _not_started(link: DeviceLink, value: str) -> InfrastructorError:
    if value == "setsid":
        return CommandNotAvailable(
            f"{link.name} has no setsid, without which a change cannot survive a lost connection.",
            hint="Install util-linux or BusyBox there.",
            program="setsid",
        )
    return CommandFailed(
        f"{link.name} has no folder to keep the outcome of a change in, so nothing was run.",
        hint="Free space in the login's home, /var/tmp or /tmp on the device.",
    )
