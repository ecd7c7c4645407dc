"""Waiting for something to become true, with a deadline instead of a sleep."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic


async def until(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    deadline = monotonic() + timeout_s
    while not condition():
        if monotonic() > deadline:
            raise AssertionError(f"not true within {timeout_s} s: {condition}")
        await asyncio.sleep(0.02)


def exists(path: object) -> bool:
    return Path(str(path)).exists()


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def remove(path: Path) -> None:
    path.unlink()
