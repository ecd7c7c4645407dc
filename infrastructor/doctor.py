"""`infrastructor doctor`: what is wrong with this installation, and the fix of each fault."""

import asyncio
import os
import shutil
import socket
import stat
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from redis import asyncio as redis

from infrastructor.attach import attached_stores
from infrastructor.daemon import Daemon, is_ready
from infrastructor.embedded import Stores
from infrastructor.errors import InfrastructorError
from infrastructor.settings import Settings
from infrastructor.storage import migrate
from infrastructor.storage.keys import Keyring, keys_path
from infrastructor.storage.pool import Database

_FREE_BYTES = 1 << 30
_PATIENCE_S = 5.0
_KEYS_FIX = "Restore the key file from a backup, or set INFRASTRUCTOR_CONFIG_KEYS_PATH; nothing else reads the history."
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `fix` says what to do when it is not ok."""

    name: str
    ok: bool
    message: str
    fix: str = ""


async def run_checks(settings: Settings) -> list[Check]:
    """Look at everything the server needs, in the order in which faults hide one another."""
    checks = [_python(), _data_dir(settings), _disk(settings), _keys(settings)]
    checks += _ports(settings)
    if checks[1].ok:
        checks += await _stores(settings)
    return checks


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", sys.version_info >= (3, 11), f"Python {version}.", "Install Python 3.11 or newer.")


def _data_dir(settings: Settings) -> Check:
    path = settings.data_dir
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = path.stat().st_mode
    except OSError as error:
        return Check(
            "data directory", False, f"{path}: {error.strerror}.", "Set INFRASTRUCTOR_DATA_DIR to a folder of yours."
        )
    if not os.access(path, os.W_OK | os.X_OK):
        return Check(
            "data directory", False, f"{path} is not writable.", f"chown it to the user that runs this: {path}"
        )
    if mode & _OTHERS:
        return Check("data directory", False, f"{path} is open to others.", f"chmod 700 {path}")
    return Check("data directory", True, f"{path}.")


def _disk(settings: Settings) -> Check:
    path = next(parent for parent in (settings.data_dir, *settings.data_dir.parents) if parent.exists())
    free = shutil.disk_usage(path).free
    return Check(
        "disk",
        free >= _FREE_BYTES,
        f"{free >> 20} MiB free at {path}.",
        "Free at least 1 GiB, or move INFRASTRUCTOR_DATA_DIR.",
    )


def _keys(settings: Settings) -> Check:
    given = [Path(path).expanduser() for path in settings.ssh_private_key_paths]
    usual = [Path.home() / ".ssh" / name for name in ("id_ed25519", "id_ecdsa", "id_rsa")]
    found = [path for path in given or usual if path.is_file()]
    missing = [str(path) for path in given if path not in found]
    if missing:
        return Check(
            "ssh keys", False, f"Missing: {', '.join(missing)}.", "Correct INFRASTRUCTOR_SSH_PRIVATE_KEY_PATHS."
        )
    exposed = [str(path) for path in found if path.stat().st_mode & _OTHERS]
    if exposed:
        return Check("ssh keys", False, f"Others may read {', '.join(exposed)}.", f"chmod 600 {' '.join(exposed)}")
    if not found:
        return Check("ssh keys", False, "There is no private key to log in with.", "ssh-keygen -t ed25519")
    return Check("ssh keys", True, f"{', '.join(str(path) for path in found)}.")


def _ports(settings: Settings) -> list[Check]:
    running = Daemon(settings).running()
    if running is not None:
        ready = is_ready(running.api_port)
        return [
            Check(
                "server",
                ready,
                f"Running (pid {running.pid}), {'ready' if ready else 'not ready'}.",
                "infrastructor logs",
            )
        ]
    return [
        _port(settings.host, settings.api_port, "REST", "INFRASTRUCTOR_API_PORT"),
        _port(settings.host, settings.mcp_port, "MCP", "INFRASTRUCTOR_MCP_PORT"),
    ]


def _port(host: str, port: int, door: str, variable: str) -> Check:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Check(f"{door} port", False, f"{host}:{port}: {error.strerror}.", f"Set {variable} to a free port.")
    return Check(f"{door} port", True, f"{host}:{port} is free.")


async def _stores(settings: Settings) -> list[Check]:
    try:
        async with attached_stores(settings) as stores:
            database = await _attempt(
                "database", lambda: _database(stores), "infrastructor start, then infrastructor logs"
            )
            schema = await _attempt("schema", lambda: _schema(stores), "infrastructor migrate upgrade")
            cache = await _attempt(
                "cache", lambda: _cache(stores), "Nothing is lost without it; check INFRASTRUCTOR_REDIS_URL."
            )
            if not database.ok:
                return [database, cache]
            if not schema.ok:
                return [database, schema, cache]
            keys = await _attempt("history keys", lambda: _history_keys(settings, stores), _KEYS_FIX)
            return [database, schema, keys, cache]
    except InfrastructorError as error:
        return [Check("database", False, error.message, error.hint)]


async def _attempt(name: str, look: Callable[[], Awaitable[Check]], fix: str) -> Check:
    try:
        return await asyncio.wait_for(look(), _PATIENCE_S)
    except (InfrastructorError, OSError, asyncpg.PostgresError, redis.RedisError, TimeoutError) as error:
        return Check(name, False, str(error) or "It does not answer.", fix)


async def _database(stores: Stores) -> Check:
    connection = await asyncpg.connect(stores.database_url, timeout=_PATIENCE_S)
    try:
        version = await connection.fetchval("SHOW server_version")
    finally:
        await connection.close()
    return Check("database", True, f"PostgreSQL {version}.")


async def _schema(stores: Stores) -> Check:
    current = await migrate.current(stores.database_url)
    newest = migrate.history()[-1][0]
    return Check(
        "schema", current == newest, f"Revision {current or 'none'}, newest {newest}.", "infrastructor migrate upgrade"
    )


async def _history_keys(settings: Settings, stores: Stores) -> Check:
    database = await Database.connect(stores.database_url)
    path = keys_path(settings)
    try:
        if not await database.fetchval("SELECT EXISTS (SELECT 1 FROM configuration_keys)"):
            return Check("history keys", True, "None yet: no content of a file is kept.")
        newest = await Keyring(database, path).newest()
    finally:
        await database.close()
    return Check("history keys", True, f"{path} fits the database; key {newest.number} is the newest.")


async def _cache(stores: Stores) -> Check:
    client = redis.from_url(stores.redis_url)
    try:
        info = await client.info("server")
    finally:
        await client.aclose()
    return Check(
        "cache", True, f"{info.get('server_name', 'redis')} {info.get('valkey_version', info.get('redis_version'))}."
    )
