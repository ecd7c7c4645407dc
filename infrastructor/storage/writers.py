"""Which writers of audit records are alive: one lock file each, which the kernel unlocks when they die."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from infrastructor.ids import uuid7


class SpoolDirectory:
    """`{writer}.lock`, held while the writer lives, and its spools `{writer}.{n}.db`."""

    def __init__(self, path: Path) -> None:
        """Make the directory and take a lock as a new writer. Raises `OSError`."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self.id = self._identity()
        self._held: dict[UUID, int] = {}
        self.writer_id = uuid7()
        while not self.claim(self.writer_id):  # somebody looking for the dead was faster than our lock
            self.writer_id = uuid7()

    def spool_file(self, number: int) -> Path:
        return self.path / f"{self.writer_id}.{number}.db"

    def spools_of(self, writer: UUID) -> list[Path]:
        return sorted(self.path.glob(f"{writer}.*.db"))

    def writers(self) -> Iterator[UUID]:
        """Everyone who left a lock or a spool here, dead or alive, but us."""
        names = {file.name.partition(".")[0] for pattern in ("*.lock", "*.db") for file in self.path.glob(pattern)}
        for name in sorted(names):
            with contextlib.suppress(ValueError):
                if (writer := UUID(name)) != self.writer_id:
                    yield writer

    def claim(self, writer: UUID) -> bool:
        """Take over a writer's lock; False when it, or another heir, holds it."""
        if writer in self._held:
            return True
        file = os.open(self._lock_file(writer), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return False
        self._held[writer] = file
        return True

    def release(self, writer: UUID) -> None:
        """Give a lock up; its file goes with it once no spool is left."""
        file = self._held.pop(writer, None)
        if file is None:
            return
        if not self.spools_of(writer):
            self._lock_file(writer).unlink(missing_ok=True)
        os.close(file)

    def close(self) -> None:
        for writer in list(self._held):
            self.release(writer)

    def _lock_file(self, writer: UUID) -> Path:
        return self.path / f"{writer}.lock"

    def _identity(self) -> UUID:
        """Tells this directory from those of other machines in the same database."""
        file = self.path / "id"
        with contextlib.suppress(FileNotFoundError):
            try:
                return UUID(file.read_text(encoding="ascii").strip())
            except ValueError:
                file.unlink(missing_ok=True)  # cut short by a power loss
        fresh = file.with_name(f"id.{os.getpid()}.new")
        fresh.write_text(str(uuid7()), encoding="ascii")
        with contextlib.suppress(FileExistsError):
            os.link(fresh, file)
        fresh.unlink()
        return UUID(file.read_text(encoding="ascii").strip())
