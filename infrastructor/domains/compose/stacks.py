"""Stacks as the labels of their containers tell of them. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from infrastructor.domains.compose.models import StackRow
from infrastructor.domains.containers.listing import problem
from infrastructor.domains.containers.rows import Row

_LABEL = "com.docker.compose.project"
_NO_PATH = re.compile(r"[\x00-\x1f\x7f]")
ONEOFF = "com.docker.compose.oneoff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One compose project. Without containers it has only what the caller said."""

    name: str
    folder: str | None
    files: tuple[str, ...]
    env_file: str | None
    rows: tuple[Row, ...]

    @property
    def main(self) -> str | None:
        return self.files[0] if self.files else None


def stacks_of(rows: Iterable[Row]) -> dict[str, Stack]:
    """All stacks by name, in order."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        if row.stack and (row.labels or {}).get(ONEOFF, "False") != "True":
            grouped.setdefault(row.stack, []).append(row)
    return {name: _stack(name, found) for name, found in sorted(grouped.items())}


def _stack(name: str, rows: list[Row]) -> Stack:
    # Containers of an older deployment may name other files: the newest tells.
    newest: Mapping[str, str] = max(rows, key=lambda row: row.created_s or 0).labels or {}
    folder = _path(newest.get(f"{_LABEL}.working_dir", ""))
    files = [
        str(PurePosixPath(folder or "/") / file) for file in newest.get(f"{_LABEL}.config_files", "").split(",") if file
    ]
    env_file = _path(newest.get(f"{_LABEL}.environment_file", "").partition(",")[0])
    return Stack(
        name=name,
        folder=folder,
        files=tuple(file for file in files if _path(file)),
        env_file=env_file,
        rows=tuple(sorted(rows, key=lambda row: (row.service or "", row.name))),
    )


def _path(text: str) -> str | None:
    """An absolute path that may be named to a program; labels are remote text."""
    good = text.startswith("/") and not _NO_PATH.search(text) and ".." not in text.split("/")
    return text if good else None


def stack_row(stack: Stack) -> StackRow:
    problems = [text for row in stack.rows if (text := problem(row)) is not None]
    return StackRow(
        name=stack.name,
        folder=stack.folder,
        files=[file.rpartition("/")[2] if _beside(stack, file) else file for file in stack.files],
        services=len({row.service for row in stack.rows}),
        states=dict(Counter(row.condition for row in stack.rows).most_common()),
        problems=problems[:5],
    )


def _beside(stack: Stack, file: str) -> bool:
    return stack.folder is not None and file.rpartition("/")[0] == stack.folder
