"""An application over fakes, with one device, and what a test wants to know afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infrastructor.app import Application
from infrastructor.catalog import COMPLETIONS
from infrastructor.health import HealthReport, PartHealth
from infrastructor.operation import Operation
from infrastructor.ports.audit import AuditRecord
from infrastructor.ports.callers import Interface, Role
from infrastructor.ports.ssh import CommandOutput
from infrastructor.service import UnifiedDataCollectionService
from infrastructor.settings import Settings
from infrastructor.snapshot_store import History
from infrastructor.tokens import Tokens, hash_secret
from tests.doors.catalog import OPERATIONS
from tests.fake_history import fake_history
from tests.fakes import (
    FakeAudit,
    FakeCache,
    FakeCancels,
    FakeContainers,
    FakeDevices,
    FakeEvents,
    FakeMetrics,
    FakePlans,
    FakeSSH,
    FakeTokens,
    device,
)

POOLS = b"tank\tONLINE\t4000000000000\n"


@dataclass
class World:
    """The fakes beneath an application. `application` may be made more than once over the same world."""

    operations: Sequence[Operation[Any, Any]] = OPERATIONS
    devices: FakeDevices = field(default_factory=lambda: FakeDevices(device("nas"), device("web-1")))
    ssh: FakeSSH = field(default_factory=lambda: FakeSSH(outputs={"zpool": CommandOutput(exit_status=0, stdout=POOLS)}))
    cache: FakeCache = field(default_factory=FakeCache)
    audit: FakeAudit = field(default_factory=FakeAudit)
    plans: FakePlans = field(default_factory=FakePlans)
    metrics: FakeMetrics = field(default_factory=FakeMetrics)
    events: FakeEvents = field(default_factory=FakeEvents)
    containers: FakeContainers = field(default_factory=FakeContainers)
    token_store: FakeTokens = field(default_factory=FakeTokens)
    cancels: FakeCancels = field(default_factory=FakeCancels)
    history: History = field(default_factory=fake_history)
    healthy: bool = True

    def application(self, **settings: Any) -> Application:
        given = Settings(data_dir=Path("/nonexistent"), **settings)
        return Application(
            settings=given,
            service=UnifiedDataCollectionService(
                operations=self.operations,
                devices=self.devices,
                ssh=self.ssh,
                cache=self.cache,
                audit=self.audit,
                metrics=self.metrics,
                plans=self.plans,
                events=self.events,
                containers=self.containers,
                cancels=self.cancels,
                history=self.history,
                read_only=given.read_only,
                opted_in=(Interface.MCP,) if given.mcp_exec else (),
                human_approval=given.destroy_approval == "human",
            ),
            completions=COMPLETIONS,
            tokens=Tokens(self.token_store),
            health=self.health,
        )

    async def token(self, role: Role, name: str | None = None, *, expired: bool = False) -> str:
        """A secret of this role; the token's name is the role unless given."""
        secret = f"inf_{name or role}_{'x' * 30}"
        expires = datetime.now(UTC) - timedelta(days=1) if expired else None
        await self.token_store.create(name or str(role), role, hash_secret(secret), expires)
        return secret

    async def bearer(self, role: Role = Role.ADMIN) -> dict[str, str]:
        return {"Authorization": f"Bearer {await self.token(role)}"}

    async def health(self) -> HealthReport:
        state = "ok" if self.healthy else "down"
        return HealthReport(
            status=state,
            timestamp=datetime.now(UTC),
            version="0",
            uptime_seconds=1.0,
            services={"database": PartHealth(state=state)},
            metrics={},
        )

    @property
    def records(self) -> list[AuditRecord]:
        return self.audit.finished

    @property
    def outcomes(self) -> list[tuple[str, str, str | None]]:
        """(operation, outcome, error code) of every finished record."""
        return [(record.operation, record.outcome, record.error_code) for record in self.records]
