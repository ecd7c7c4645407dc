"""A local queue on disk for audit records while PostgreSQL is away: SQLite, synced at every commit."""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

MAX_BYTES = 256 << 20  # about 250,000 records
_PAGE_BYTES = 4096


class Spool:
    """One file of records in order. Blocking: call it from one thread of its own."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        """Open or make the file. Raises `sqlite3.Error` or `OSError`."""
        self.path = path
        self._connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            path.chmod(0o600)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(f"PRAGMA max_page_count = {max_bytes // _PAGE_BYTES}")
            self._connection.execute("CREATE TABLE IF NOT EXISTS records (seq INTEGER PRIMARY KEY, line TEXT NOT NULL)")
            self._connection.execute("CREATE TABLE IF NOT EXISTS rejected (line TEXT NOT NULL, reason TEXT NOT NULL)")
            _sync(path.parent)
        except BaseException:
            self._connection.close()
            raise

    def append(self, lines: Sequence[str]) -> None:
        """Return once all lines are on the disk; on any error none of them is promised. Raises `sqlite3.Error`."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany("INSERT INTO records (line) VALUES (?)", [(line,) for line in lines])
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def first(self, limit: int) -> list[tuple[int, str]]:
        """The oldest records with their numbers."""
        return self._connection.execute("SELECT seq, line FROM records ORDER BY seq LIMIT ?", (limit,)).fetchall()

    def remove(self, up_to: int) -> None:
        """Forget records that PostgreSQL has, up to and including this number."""
        self._connection.execute("DELETE FROM records WHERE seq <= ?", (up_to,))

    def reject(self, line: str, reason: str) -> None:
        """Set a record aside that PostgreSQL refuses for ever; the file is kept for a person to look at."""
        self._connection.execute("INSERT INTO rejected (line, reason) VALUES (?, ?)", (line, reason))

    def count(self) -> int:
        (number,) = self._connection.execute("SELECT count(*) FROM records").fetchone()
        return int(number)

    def close(self) -> None:
        """Close; an empty file is removed."""
        try:
            (kept,) = self._connection.execute(
                "SELECT (SELECT count(*) FROM records) + (SELECT count(*) FROM rejected)"
            ).fetchone()
        except sqlite3.Error:
            kept = 1
        self._connection.close()
        if not kept:
            for suffix in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
