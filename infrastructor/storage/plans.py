"""Plans of destructive operations, kept until they are taken once or expire."""

from infrastructor.ports import StoredPlan
from infrastructor.storage import sql
from infrastructor.storage.pool import Database

SQL = sql.load("plans")


class PostgresPlanStore:
    """`PlanStore` over the table `plans`. Both methods raise `DatabaseOperationError` when PostgreSQL is away."""

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
        )

    async def take(self, token_hash: str) -> StoredPlan | None:
        row = await self._database.fetchrow(SQL["take"], token_hash)
        return None if row is None else StoredPlan(**dict(row))
