"""Real servers for every integration test; one pair per test process."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from infrastructor.storage.pool import Database
from tests.support.docker import compose_host as compose_host  # noqa: PLC0414
from tests.support.docker import docker_engine as docker_engine  # noqa: PLC0414 - fixtures, one of each for all folders
from tests.support.docker import docker_host as docker_host  # noqa: PLC0414
from tests.support.docker import stdio_host as stdio_host  # noqa: PLC0414
from tests.support.podman import podman_engine as podman_engine  # noqa: PLC0414
from tests.support.podman import podman_host as podman_host  # noqa: PLC0414
from tests.support.postgres import TestPostgres
from tests.support.sshd import client as client  # noqa: PLC0414
from tests.support.sshd import plain_user as plain_user  # noqa: PLC0414
from tests.support.sshd import registry as registry  # noqa: PLC0414
from tests.support.sshd import ssh_folder as ssh_folder  # noqa: PLC0414
from tests.support.sshd import ssh_host as ssh_host  # noqa: PLC0414
from tests.support.sshd import sshd as sshd  # noqa: PLC0414
from tests.support.sshd import start_sshd as start_sshd  # noqa: PLC0414
from tests.support.valkey import TestValkey

logging.getLogger("alembic").setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestPostgres]:
    """The shared server. Never break it: take `own_postgres`."""
    server = TestPostgres(tmp_path_factory.mktemp("pg"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestValkey]:
    """The shared cache server. Never break it: take `own_valkey`."""
    server = TestValkey(tmp_path_factory.mktemp("vk"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestPostgres]:
    """A server to crash and freeze; running again at the start of each test that asks for `broken_dsn`."""
    server = TestPostgres(tmp_path_factory.mktemp("ownpg"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[TestValkey]:
    server = TestValkey(tmp_path / "vk")
    server.start()
    yield server
    with contextlib.suppress(ProcessLookupError):
        server.stop()


@pytest.fixture(scope="session")
def valkey_url(valkey: TestValkey) -> str:
    return valkey.url


@pytest.fixture(scope="session")
async def postgres_dsn(postgres: TestPostgres) -> str:
    """A migrated database shared by the tests of this process."""
    return await postgres.database()


@pytest.fixture
async def dsn(postgres: TestPostgres) -> str:
    """A fresh migrated database for one test."""
    return await postgres.database()


@pytest.fixture
async def empty_dsn(postgres: TestPostgres) -> str:
    """A fresh database without any table."""
    return await postgres.database(migrated=False)


@pytest.fixture
async def storage(dsn: str) -> AsyncIterator[Database]:
    """A pool on a fresh migrated database."""
    database = await Database.connect(dsn)
    yield database
    await database.close()


@pytest.fixture
async def broken_dsn(own_postgres: TestPostgres) -> AsyncIterator[str]:
    """A fresh migrated database on the server that a test may crash and freeze."""
    await asyncio.to_thread(own_postgres.start)
    yield await own_postgres.database()
    own_postgres.thaw()
