"""A registered host with a container engine, asked through the real service over a real connection."""

from collections.abc import Mapping
from typing import Any

from infrastructor.catalog import CATALOG
from infrastructor.errors import EngineUnavailable
from infrastructor.operation import Answer
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import EngineCall, EngineReply
from infrastructor.service import UnifiedDataCollectionService
from infrastructor.ssh import AsyncSSHClient
from tests.fakes import (
    FakeAudit,
    FakeCache,
    FakeContainers,
    FakeDeployments,
    FakeDevices,
    FakeEvents,
    FakeMetrics,
    FakePlans,
)
from tests.support.docker import IMAGE, DockerEngine

ADMIN = Caller(principal="anna", role=Role.ADMIN, interface=Interface.REST)


class Host:
    """`ask` runs an operation on the host; `run` starts a container there behind the service's back."""

    def __init__(self, client: AsyncSSHClient, device: Device, engine: DockerEngine | None, **service: Any) -> None:
        self.client = client
        self.device = device
        self._engine = engine
        self.audit = FakeAudit()
        self.deployments = FakeDeployments()
        self.service = UnifiedDataCollectionService(
            operations=CATALOG,
            devices=FakeDevices(device),
            ssh=client,
            cache=FakeCache(),
            audit=self.audit,
            metrics=FakeMetrics(),
            plans=FakePlans(),
            events=FakeEvents(),
            containers=FakeContainers(),
            deployments=self.deployments,
            **service,
        )

    @property
    def engine(self) -> DockerEngine:
        assert self._engine is not None
        return self._engine

    @property
    def admin(self) -> Caller:
        return ADMIN

    async def ask(self, operation_name: str, caller: Caller = ADMIN, /, **arguments: Any) -> Any:
        return (await self.answer(operation_name, caller, **arguments)).result

    async def answer(self, operation_name: str, caller: Caller = ADMIN, /, **arguments: Any) -> Answer[Any]:
        operation = self.service.operation(operation_name)
        if "force_refresh" in operation.params.model_fields:
            arguments.setdefault("force_refresh", True)
        return await self.service.submit(operation, {"device": self.device.hostname, **arguments}, caller)

    def run(self, name: str, *words: str, options: tuple[str, ...] = (), image: str = IMAGE) -> str:
        """Start a container; its id."""
        return self.engine.docker("run", "-d", "--name", name, *options, image, *(words or ("sleep", "3600")))

    def state(self, name: str) -> Mapping[str, Any]:
        found: Any = self.engine.inspect(name)["State"]
        return dict(found)

    @property
    def commands(self) -> list[str]:
        """What the last run sent to the device."""
        return self.audit.finished[-1].commands

    def without_api(self) -> None:
        """As on a device that lets nobody near the API, though its command line tool works."""

        class NoApi:
            def __init__(self, client: AsyncSSHClient) -> None:
                self.real = client

            async def ask_engine(self, device: Device, call: EngineCall) -> EngineReply:
                raise EngineUnavailable(f"The container engine of {device.hostname} cannot be reached.")

            def __getattr__(self, name: str) -> Any:
                return getattr(self.real, name)

        self.service.ssh = NoApi(self.client)  # type: ignore[assignment]
