"""Where the sockets live. A socket's path may have 107 bytes, so a long data directory gets a short one elsewhere."""

import os
import stat
import tempfile
from pathlib import Path

from infrastructor.embedded.account import Account

MAX_PATH_BYTES = 100
LONGEST_NAME = ".s.PGSQL.5432.lock"


def socket_directory(data_dir: Path, account: Account) -> Path:
    """The 0700 directory for both sockets, made when missing; `data_dir/run` unless that is too long."""
    preferred = data_dir / "run"
    if len(os.fsencode(preferred / LONGEST_NAME)) <= MAX_PATH_BYTES:
        preferred.mkdir(mode=0o700, exist_ok=True)
        account.own(preferred)
        return preferred
    note = data_dir / "run.path"
    noted = Path(note.read_text(encoding="utf-8")) if note.is_file() else None
    if noted is not None and _is_private(noted, account):
        return noted
    short = Path(tempfile.mkdtemp(prefix="infrastructor-", dir="/tmp"))
    account.own(short)
    note.write_text(str(short), encoding="utf-8")
    return short


def _is_private(path: Path, account: Account) -> bool:
    """Still our own directory: /tmp may have been emptied and the name taken by another user."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == account.uid and status.st_mode & 0o077 == 0
