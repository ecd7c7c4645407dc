"""Plans are taken once; tokens are found by the hash of their secret."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from infrastructor.errors import Conflict
from infrastructor.ids import uuid7
from infrastructor.ports.callers import Role
from infrastructor.ports.plans import StoredPlan
from infrastructor.ports.tokens import TokenStore
from infrastructor.storage.plans import PostgresPlanStore
from infrastructor.storage.pool import Database
from infrastructor.storage.tokens import PostgresTokenStore
from tests.fakes import FakeTokens


def plan(**fields: object) -> StoredPlan:
    values = {
        "id": uuid7(),
        "token_hash": uuid7().hex,
        "operation": "device_remove",
        "principal": "admin",
        "device_id": uuid7(),
        "params_hash": "p",
        "fingerprint": "f",
        "body": {"summary": "Would remove nas.", "effects": ["one", "two"]},
        "expires_at": datetime.now(UTC) + timedelta(minutes=5),
    }
    return StoredPlan(**{**values, **fields})  # type: ignore[arg-type]


async def test_a_plan_is_taken_exactly_once_by_many_at_once(storage: Database, dsn: str) -> None:
    saved = plan()
    other_process = await Database.connect(dsn)
    stores = [PostgresPlanStore(storage), PostgresPlanStore(other_process)]
    await stores[0].save(saved)
    taken = await asyncio.gather(*(stores[i % 2].take(saved.token_hash) for i in range(40)))
    await other_process.close()
    assert [replace(one, used_at=None) for one in taken if one is not None] == [saved]


async def test_an_expired_or_unknown_plan_is_not_taken(storage: Database) -> None:
    store = PostgresPlanStore(storage)
    late = plan(expires_at=datetime.now(UTC) - timedelta(seconds=1), device_id=None)
    await store.save(late)
    assert await store.take(late.token_hash) is None
    assert await store.take("unknown") is None


async def test_a_token_is_found_until_it_is_revoked(storage: Database) -> None:
    store = PostgresTokenStore(storage)
    made = await store.create("laptop", Role.OPERATOR, "hash-1", None)
    found = await store.find("hash-1")
    assert found == made
    assert found is not None
    assert found.role is Role.OPERATOR
    assert await store.find("other") is None
    assert await store.revoke("laptop") is True
    assert await store.revoke("laptop") is False
    assert await store.find("hash-1") is None
    assert [token.revoked_at is not None for token in await store.all()] == [True]


async def test_a_name_is_taken_by_one_valid_token(storage: Database) -> None:
    store = PostgresTokenStore(storage)
    await store.create("ci", Role.VIEWER, "hash-1", None)
    with pytest.raises(Conflict):
        await store.create("ci", Role.VIEWER, "hash-2", None)
    await store.revoke("ci")
    await store.create("ci", Role.VIEWER, "hash-3", datetime.now(UTC) - timedelta(seconds=1))
    assert await store.find("hash-3") is None, "expired"
    again = await store.create("ci", Role.ADMIN, "hash-4", datetime.now(UTC) + timedelta(hours=1))
    assert await store.find("hash-4") == again


async def test_last_use_is_written_in_bulk(storage: Database) -> None:
    store = PostgresTokenStore(storage, flush_interval_s=0.05)
    await store.start()
    await store.create("a", Role.VIEWER, "hash-a", None)
    await store.create("b", Role.VIEWER, "hash-b", None)
    for _ in range(3):
        await store.find("hash-a")
    await store.close()
    used = {token.name: token.last_used_at is not None for token in await store.all()}
    assert used == {"a": True, "b": False}


@pytest.fixture(params=["fake", "real"])
def tokens(request: pytest.FixtureRequest, storage: Database) -> TokenStore:
    return FakeTokens() if request.param == "fake" else PostgresTokenStore(storage)


SOON = timedelta(seconds=30)


async def test_a_ticket_stands_for_its_token_once(tokens: TokenStore) -> None:
    token = await tokens.create("ui", Role.VIEWER, "hash-1", None)
    await tokens.add_ticket(token.id, "ticket-1", datetime.now(UTC) + SOON)
    await tokens.add_ticket(token.id, "ticket-2", datetime.now(UTC) - SOON)
    taken = await asyncio.gather(*(tokens.take_ticket("ticket-1") for _ in range(20)))
    assert [one for one in taken if one is not None] == [token]
    assert await tokens.take_ticket("ticket-2") is None, "too late"
    assert await tokens.take_ticket("unknown") is None


async def test_a_ticket_is_worth_no_more_than_its_token(tokens: TokenStore) -> None:
    token = await tokens.create("ui", Role.VIEWER, "hash-1", None)
    late = await tokens.create("late", Role.VIEWER, "hash-2", datetime.now(UTC) - SOON)
    for one in (token, late):
        await tokens.add_ticket(one.id, f"ticket-{one.name}", datetime.now(UTC) + SOON)
    assert await tokens.valid(token.id) == token
    await tokens.revoke("ui")
    assert await tokens.take_ticket("ticket-ui") is None
    assert await tokens.take_ticket("ticket-late") is None
    assert await tokens.valid(token.id) is None
    assert await tokens.valid(late.id) is None
    assert await tokens.valid(uuid7()) is None


async def test_tickets_nobody_came_with_do_not_pile_up(storage: Database) -> None:
    store = PostgresTokenStore(storage)
    token = await store.create("ui", Role.VIEWER, "hash-1", None)
    for number in range(5):
        await store.add_ticket(token.id, f"ticket-{number}", datetime.now(UTC) - SOON)
    assert await storage.fetchval("SELECT count(*) FROM tickets") == 1
