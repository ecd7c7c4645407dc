"""Processes that outlive us: found by a pid file that is checked, started and stopped under one lock."""

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from infrastructor.errors import DatabaseOperationError

LOCK_TIMEOUT_S = 60.0
POLL_S = 0.01


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`; the kernel frees it when we die, so no lock is ever stale."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not wait_until(lambda: _try_lock(descriptor), LOCK_TIMEOUT_S):
            raise DatabaseOperationError(
                f"Another process has been starting or stopping the stores for {LOCK_TIMEOUT_S:g} s ({path}).",
                hint="Look for a hung infrastructor process and end it.",
            )
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Poll until it is true; False when it still is not after `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def pid_in(file: Path) -> int | None:
    """The number in the first line of a pid file."""
    try:
        return int(file.read_text(encoding="ascii").split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def is_alive(pid: int, *, program: str, cwd: Path) -> bool:
    """Whether `pid` is this program working in this directory, and no stranger that inherited the number."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0", 1)[0].decode(errors="replace")
        working_directory = Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return False
    # Valkey writes a title of its own into argv[0]: "/path/valkey-server unixsocket:…".
    return program in command and working_directory == cwd.resolve()


def run(argv: Sequence[str], *, what: str, log: Path | None = None, timeout_s: float = 60.0) -> None:
    """Run a helper to its end. Raises `DatabaseOperationError` with the last lines it wrote."""
    try:
        done = subprocess.run(  # noqa: S603 (our own programs, no shell)
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DatabaseOperationError(f"{what}: {error}") from error
    if done.returncode:
        raise failed(what, done.stdout.decode(errors="replace"), log)


def failed(what: str, output: str, log: Path | None) -> DatabaseOperationError:
    lines = output.strip().splitlines()
    if log is not None and log.is_file():
        lines += log.read_text(errors="replace").strip().splitlines()[-10:]
    return DatabaseOperationError(
        f"{what}: {' | '.join(lines[-15:]) or 'no output'}",
        hint=f"The log is {log}. INFRASTRUCTOR_DATABASE_URL and INFRASTRUCTOR_REDIS_URL use servers of your own."
        if log is not None
        else None,
    )


def stop(pid: int, number: signal.Signals, alive: Callable[[int], bool], seconds: float) -> bool:
    """Signal a process and wait for its end; False when it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)  # a frozen process would never act on it
        os.kill(pid, number)
    return wait_until(lambda: not alive(pid), seconds)
