"""A tree of configuration files that somebody works on, and the memory of every state a file of it ever had."""

import hashlib
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

FOLDERS, NAMES = 6, 12
PAUSES_S = (0, 0, 0, 0.001, 0.02, 0.08)


class Tree:
    """Random work, one operation after the other. What was written is remembered by path, for ever."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._random = random.Random(seed)
        self.states: dict[str, set[str]] = {}
        self.operations = 0

    def work(self) -> None:
        """One operation, as editors, programs and people do them."""
        doing: Callable[[], None] = self._random.choices(
            (
                self._write,
                self._write_in_two,
                self._replace,
                self._append,
                self._remove,
                self._new_folder,
                self._rename_folder,
                self._remove_folder,
                self._chmod,
                self._rename_file,
                self._copy_in,
            ),
            (30, 6, 30, 8, 8, 6, 2, 2, 3, 3, 2),
        )[0]
        doing()
        self.operations += 1

    def now(self) -> dict[str, tuple[str, int]]:
        """Hash and permission bits of every file that is there, by path."""
        return {
            str(path): (_sha256(path.read_bytes()), path.stat().st_mode & 0o7777)
            for path in self.root.rglob("*.conf")
            if path.is_file()
        }

    # --- operations ----------------------------------------------------------------------------------

    def _write(self) -> None:
        path = self._some_path()
        self._remember(path, b"")  # it is empty for a moment
        self._put(path, self._content())

    def _write_in_two(self) -> None:
        path, content = self._some_path(), self._content()
        self._remember(path, b"", content[: len(content) // 2], content)
        with path.open("wb", buffering=0) as file:
            file.write(content[: len(content) // 2])
            time.sleep(self._random.choice(PAUSES_S))
            file.write(content[len(content) // 2 :])

    def _replace(self) -> None:
        path = self._some_path()
        temporary = path.with_name(f".{path.name}.swp")
        content = self._content()
        self._remember(path, content)
        temporary.write_bytes(content)
        temporary.rename(path)

    def _append(self) -> None:
        path = self._some_file()
        if path is not None:
            more = self._content()[:80]
            self._remember(path, path.read_bytes() + more)
            with path.open("ab") as file:
                file.write(more)

    def _remove(self) -> None:
        path = self._some_file()
        if path is not None:
            path.unlink()

    def _new_folder(self) -> None:
        folder = self.root / f"new{self._random.randrange(FOLDERS)}" / "deep"
        folder.mkdir(parents=True, exist_ok=True)
        path, content = folder / f"{self._random.randrange(NAMES)}.conf", self._content()
        self._remember(path, b"")
        self._put(path, content)

    def _rename_folder(self) -> None:
        folder = self._some_folder()
        if folder is not None:
            target = self.root / f"moved{self._random.randrange(FOLDERS)}"
            if not target.exists():
                for path in folder.rglob("*.conf"):
                    self._remember(target / path.relative_to(folder), path.read_bytes())
                folder.rename(target)

    def _remove_folder(self) -> None:
        folder = self._some_folder()
        if folder is not None:
            shutil.rmtree(folder)

    def _chmod(self) -> None:
        path = self._some_file()
        if path is not None:
            path.chmod(self._random.choice((0o600, 0o640, 0o644)))

    def _rename_file(self) -> None:
        path, target = self._some_file(), self._some_path()
        if path is not None:
            self._remember(target, path.read_bytes())
            path.rename(target)

    def _copy_in(self) -> None:
        """As `docker cp`: away with the old, then a new one in two steps."""
        path, content = self._some_path(), self._content()
        path.unlink(missing_ok=True)
        self._remember(path, b"")
        self._put(path, content)

    # --- parts ---------------------------------------------------------------------------------------

    def _put(self, path: Path, content: bytes) -> None:
        self._remember(path, content)
        path.write_bytes(content)

    def _remember(self, path: Path, *contents: bytes) -> None:
        self.states.setdefault(str(path), set()).update(map(_sha256, contents))

    def _content(self) -> bytes:
        lines = self._random.randrange(1, 40)
        return b"".join(b"option_%d = %s\n" % (line, os.urandom(4).hex().encode()) for line in range(lines))

    def _some_path(self) -> Path:
        folder = self.root / f"app{self._random.randrange(FOLDERS)}"
        folder.mkdir(exist_ok=True)
        return folder / f"{self._random.randrange(NAMES)}.conf"

    def _some_file(self) -> Path | None:
        files = sorted(path for path in self.root.rglob("*.conf") if path.is_file())
        return self._random.choice(files) if files else None

    def _some_folder(self) -> Path | None:
        folders = sorted(path for path in self.root.iterdir() if path.is_dir())
        return self._random.choice(folders) if folders else None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
