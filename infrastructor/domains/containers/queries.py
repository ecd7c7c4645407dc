"""What the container operations ask the engine's API."""

from dataclasses import dataclass
from datetime import timedelta

from infrastructor.command import Command
from infrastructor.domains.containers import rows
from infrastructor.domains.containers.commands import InspectContainers, ListContainers, ReadLogs
from infrastructor.domains.containers.inspection import Inspection, from_inspect
from infrastructor.domains.containers.log_lines import Batch
from infrastructor.domains.containers.log_lines import from_api as log_from_api
from infrastructor.domains.containers.rows import Row
from infrastructor.engine import EngineQuery
from infrastructor.ports.ssh import EngineReply


@dataclass(frozen=True)
class QueryContainers(EngineQuery[tuple[Row, ...]]):
    """All containers, those that do not run too."""

    target = "/containers/json?all=true"

    def parse(self, reply: EngineReply) -> tuple[Row, ...]:
        return rows.from_api(reply.body)

    def command(self) -> Command[tuple[Row, ...]]:
        return ListContainers()


@dataclass(frozen=True)
class QueryContainer(EngineQuery[tuple[Inspection, ...]]):
    """Everything the engine knows of one container; a tuple of one, as `docker inspect` answers."""

    target = "/containers/{container}/json"
    timeout = timedelta(seconds=15)
    container: str

    def parse(self, reply: EngineReply) -> tuple[Inspection, ...]:
        return from_inspect(reply.body)

    def command(self) -> Command[tuple[Inspection, ...]]:
        return InspectContainers(containers=(self.container,))


@dataclass(frozen=True)
class QueryLogs(EngineQuery[Batch]):
    """The newest lines of a container. The engine counts `tail` from the end before it looks at `until`."""

    target = (
        "/containers/{container}/logs?stdout=true&stderr=true&timestamps=true&tail={tail}&since={since}&until={until}"
    )
    max_output = 32 << 20
    accepts_truncated = True
    container: str
    tail: str = "100"
    since: str | None = None
    until: str | None = None

    def parse(self, reply: EngineReply) -> Batch:
        return log_from_api(reply.body, truncated=reply.truncated)

    def command(self) -> Command[Batch]:
        return ReadLogs(container=self.container, tail=self.tail, since=self.since, until=self.until)
