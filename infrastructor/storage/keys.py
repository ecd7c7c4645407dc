"""The keys that contents are sealed with: a file outside the database, and what the database says of them."""

import base64
import contextlib
import fcntl
import hmac
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

from infrastructor.errors import HistoryKeyUnavailable
from infrastructor.settings import Settings
from infrastructor.storage import sql
from infrastructor.storage.codec import KEY_BYTES, Key
from infrastructor.storage.pool import Database

SQL = sql.load("keys")
_PURPOSE = b"infrastructor configuration history"
_COMMENT = "# Keys of Infrastructor's configuration history. Nothing can be read without them: keep a copy.\n"


def keys_path(settings: Settings) -> Path:
    """Where the key file is; servers with one database need one file."""
    return settings.config_keys_path or settings.data_dir / "secrets" / "history.keys"


class Keyring:
    """The key file, checked against the database, so that no second key ever comes over existing data."""

    def __init__(self, database: Database, path: Path) -> None:
        self._database = database
        self.path = path
        self._keys: dict[int, Key] = {}
        self._newest: int | None = None

    async def newest(self, *, again: bool = False) -> Key:
        """The key to seal with, made on the very first use. Raises `HistoryKeyUnavailable`.

        `again` looks anew what the database says, for a rotation elsewhere.
        """
        if self._newest is None or again:
            self._newest = await self._load()
        return self._keys[self._newest]

    async def key(self, number: int) -> Key:
        """A key to unseal with. Raises `HistoryKeyUnavailable`."""
        if number not in self._keys:
            await self._load()
        if number not in self._keys:
            raise self._unavailable(f"lacks key {number}")
        return self._keys[number]

    async def add(self) -> Key:
        """Make a new key, in the file first, and let it be the newest."""
        await self.newest(again=True)
        with _locked(self.path):
            known = _read(self.path)
            number = max(known) + 1
            _write(self.path, {**known, number: secrets.token_bytes(KEY_BYTES)})
        await self._announce(number, _read(self.path)[number])
        return await self.newest(again=True)

    async def _load(self) -> int:
        """Compare file and database, and say which key is the newest; make the first one when neither has one."""
        said = await self._said()
        if not said:
            if await self._database.fetchval(SQL["any_sealed"]):
                raise self._unavailable("is of no use", "The table configuration_keys is empty, the contents are not.")
            with _locked(self.path):
                known = _read(self.path)
                if not known:
                    _write(self.path, {1: secrets.token_bytes(KEY_BYTES)})
                    known = _read(self.path)
            number = max(known)
            await self._announce(number, known[number])
            said = await self._said()  # of servers that start at once, one was first
        known = _read(self.path)
        for number, fingerprint in said.items():
            if number in known and not hmac.compare_digest(_fingerprint(known[number]), fingerprint):
                raise self._unavailable(f"has another key {number} than the contents in the database were sealed with")
        newest = max(said)
        if newest not in known:
            raise self._unavailable(f"lacks key {newest}" if known else "is missing or empty")
        self._keys = {number: Key(number, known[number]) for number in said if number in known}
        return newest

    async def _said(self) -> Mapping[int, bytes]:
        return {row["id"]: row["fingerprint"] for row in await self._database.fetch(SQL["keys"])}

    async def _announce(self, number: int, secret: bytes) -> None:
        await self._database.execute(SQL["announce"], number, _fingerprint(secret))

    def _unavailable(self, fault: str, message: str | None = None) -> HistoryKeyUnavailable:
        return HistoryKeyUnavailable(message or f"The key file {self.path} {fault}.", path=str(self.path))


def _fingerprint(secret: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE, "sha256")[:16]


def _read(path: Path) -> dict[int, bytes]:
    """Keys by number. Raises `HistoryKeyUnavailable` where the file is there and not understood."""
    keys: dict[int, bytes] = {}
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise HistoryKeyUnavailable(f"The key file {path} cannot be read: {error}.", path=str(path)) from error
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        number, _, text = line.partition(" ")
        try:
            keys[int(number)] = base64.b64decode(text.strip(), validate=True)
        except ValueError:
            raise HistoryKeyUnavailable(f"The key file {path} is damaged.", path=str(path)) from None
        if len(keys[int(number)]) != KEY_BYTES:
            raise HistoryKeyUnavailable(f"The key file {path} is cut short.", path=str(path))
    return keys


def _write(path: Path, keys: Mapping[int, bytes]) -> None:
    """All or nothing, and on the disk before anything is sealed with it."""
    text = _COMMENT + "".join(f"{number} {base64.b64encode(key).decode()}\n" for number, key in sorted(keys.items()))
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer of the file at a time, also on other machines that share the folder."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
