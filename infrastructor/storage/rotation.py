"""Sealing the history with a new key while the servers run: bounded batches, to be stopped and begun again anywhere."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infrastructor.storage import sql
from infrastructor.storage.codec import Key, seal, unseal
from infrastructor.storage.keys import Keyring
from infrastructor.storage.pool import Database

SQL = sql.load("keys")
BATCH = 500
PAUSE_S = 0.02  # between batches, for those who work meanwhile
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Rotated:
    """What was done: `made` is False where a rotation that was stopped has been finished instead."""

    key: int
    made: bool
    contents: int


async def sealed_with(database: Database) -> dict[int, int]:
    """How many contents each key has sealed."""
    return {row["key"]: row["contents"] for row in await database.fetch(SQL["left"], timeout=TIMEOUT_S)}


async def rotate(database: Database, keys: Keyring, progress: Callable[[int], None] = lambda _: None) -> Rotated:
    """Make a new key and seal everything with it; or finish a rotation that was stopped before.

    Old keys stay in the key file: backups of the database still need them. Raises `HistoryKeyUnavailable`.
    """
    newest = await keys.newest(again=True)
    unfinished = any(number != newest.number for number in await sealed_with(database))
    key = newest if unfinished else await keys.add()
    done = 0
    while resealed := await _pass(database, keys, key, progress):
        done += resealed  # and once more, for those who did not know of the key yet
    return Rotated(key.number, not unfinished, done)


async def _pass(database: Database, keys: Keyring, key: Key, progress: Callable[[int], None]) -> int:
    after = done = 0
    while rows := await database.fetch(SQL["sealed_before"], after, key.number, BATCH, timeout=TIMEOUT_S):
        old = {number: await keys.key(number) for number in {row["key"] for row in rows}}
        bodies = await asyncio.to_thread(_resealed, rows, old, key)
        numbers, before = [row["id"] for row in rows], [row["key"] for row in rows]
        await database.execute(SQL["reseal"], key.number, numbers, before, bodies, timeout=TIMEOUT_S)
        after, done = numbers[-1], done + len(rows)
        progress(done)
        await asyncio.sleep(PAUSE_S)
    return done


def _resealed(rows: Sequence[Any], old: Mapping[int, Key], new: Key) -> list[bytes]:
    return [seal(new, row["hash"], unseal(old[row["key"]], row["hash"], row["body"])) for row in rows]
