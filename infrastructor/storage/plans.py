"""Plans of destructive operations, kept until they are taken once or expire."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from infrastructor.ports.plans import StoredPlan
from infrastructor.storage import sql
from infrastructor.storage.pool import Database

SQL = sql.load("plans")


class PostgresPlanStore:
    """`PlanStore` over the table `plans`. All methods raise `DatabaseOperationError` when PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, plan: StoredPlan) -> None:
        await self._database.execute(
            SQL["save"],
            plan.id,
            plan.token_hash,
            plan.operation,
            plan.principal,
            plan.device_id,
            plan.params_hash,
            plan.fingerprint,
            dict(plan.body),
            plan.expires_at,
            plan.needs_approval,
        )

    async def take(self, token_hash: str) -> StoredPlan | None:
        row = await self._database.fetchrow(SQL["take"], token_hash)
        return _plan(row)

    async def find(self, token_hash: str) -> StoredPlan | None:
        return _plan(await self._database.fetchrow(SQL["find"], token_hash))

    async def waiting(self) -> Sequence[StoredPlan]:
        return [StoredPlan(**dict(row)) for row in await self._database.fetch(SQL["waiting"])]

    async def approve(self, plan_id: UUID, by: str) -> bool:
        return await self._database.execute(SQL["approve"], plan_id, by) != "UPDATE 0"

    async def withdraw(self, plan_id: UUID) -> bool:
        return await self._database.execute(SQL["withdraw"], plan_id) != "UPDATE 0"


def _plan(row: Any | None) -> StoredPlan | None:
    return None if row is None else StoredPlan(**dict(row))
