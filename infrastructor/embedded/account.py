"""The account the stores run under. PostgreSQL refuses root, and Valkey deserves no better."""

import fcntl
import logging
import os
import pwd
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infrastructor.embedded.process import run
from infrastructor.errors import DatabaseOperationError

logger = logging.getLogger(__name__)

NAME = "infrastructor-db"
_LOCK = Path("/run/infrastructor-db.lock")
_DAC_READ_SEARCH = 2  # linux/capability.h


@dataclass(frozen=True, slots=True)
class Account:
    """Whom to become (`prefix` goes before the command line) and who then owns the files."""

    name: str
    uid: int
    gid: int
    prefix: tuple[str, ...] = ()

    @classmethod
    def for_stores(cls, data_dir: Path, programs: Iterable[Path] = ()) -> "Account":
        """Ourselves, or as root the system user `infrastructor-db`, made when it is missing.

        It has to reach `data_dir` and `programs`. Raises `DatabaseOperationError` when it cannot.
        """
        if os.geteuid() != 0:
            return cls(_own_name(), os.geteuid(), os.getegid())
        entry = _system_user()
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, _drop_root(entry, data_dir, programs))

    def own(self, path: Path) -> None:
        """Make `path` this account's and nobody else's."""
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)
        path.chmod(0o700)

    def write(self, path: Path, text: str) -> None:
        """Write a file for this account into a folder of its own.

        Root must not follow what the account may have put there: a link in place of its configuration would make
        root write, and give away, any file.
        """
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if os.geteuid() == 0:
                os.fchown(descriptor, self.uid, self.gid)
            file.write(text)
        fresh.replace(path)


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise DatabaseOperationError(
            f"PostgreSQL needs a name for user id {os.geteuid()}, and /etc/passwd has none.",
            hint="Add the user, or set INFRASTRUCTOR_DATABASE_URL and INFRASTRUCTOR_REDIS_URL.",
        ) from None


def _system_user() -> pwd.struct_passwd:
    """The system user, made when it is missing.

    One process at a time: two useradd of one name at once both succeed, and the second gives it another id.
    """
    with _only_one():
        try:
            return pwd.getpwnam(NAME)
        except KeyError:
            return _make_system_user()


@contextmanager
def _only_one() -> Iterator[None]:
    descriptor = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make_system_user() -> pwd.struct_passwd:
    if useradd := shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin"):
        argv = [useradd, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        argv += ["--shell", "/usr/sbin/nologin", "--comment", "Infrastructor databases", NAME]
    elif adduser := shutil.which("adduser", path="/usr/sbin:/sbin:/usr/bin:/bin"):
        argv = [adduser, "-S", "-D", "-H", "-h", "/nonexistent", "-s", "/sbin/nologin", NAME]  # BusyBox
    else:
        raise DatabaseOperationError(
            f"Running as root needs a system user {NAME} for PostgreSQL, and there is no useradd to make it.",
            hint=f"Make the user {NAME}, run as another user, or set INFRASTRUCTOR_DATABASE_URL.",
        )
    run(argv, what=f"Making the system user {NAME} failed")
    logger.warning("running as root: made a system user for the databases", extra={"user": NAME})
    return pwd.getpwnam(NAME)


def _drop_root(entry: pwd.struct_passwd, data_dir: Path, programs: Iterable[Path]) -> tuple[str, ...]:
    """How to become the account and still reach files below private folders of root, /root above all.

    The one capability left, CAP_DAC_READ_SEARCH, passes closed folders and can write nothing. Opening /root to
    everybody instead, as other packages do, would outlast us.
    """
    setpriv = shutil.which("setpriv", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if setpriv is None:
        raise DatabaseOperationError(
            "Running as root needs setpriv (util-linux) to start PostgreSQL as another user.",
            hint="Install util-linux, run as another user, or set INFRASTRUCTOR_DATABASE_URL.",
        )
    become = [setpriv, f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups", "--no-new-privs"]
    if _have_capability(_DAC_READ_SEARCH):
        keep = "-all,+dac_read_search"
        return (*become, f"--inh-caps={keep}", f"--ambient-caps={keep}", f"--bounding-set={keep}")
    # Containers often lack it. Then the way must be open; the stores' own folders stay 0700.
    data_dir.chmod(0o711)
    for folder in {parent for path in (data_dir, *programs) for parent in path.parents}:
        if not folder.stat().st_mode & stat.S_IXOTH:
            raise DatabaseOperationError(
                f"Running as root without CAP_DAC_READ_SEARCH, user {NAME} cannot pass {folder}.",
                hint="Choose another INFRASTRUCTOR_DATA_DIR, run as another user, or set INFRASTRUCTOR_DATABASE_URL.",
            )
    return (*become, "--inh-caps=-all", "--bounding-set=-all")


def _have_capability(number: int) -> bool:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapPrm:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False
