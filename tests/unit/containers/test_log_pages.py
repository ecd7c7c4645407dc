"""Going back in a long log: what is there is reached, or it is said how."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from infrastructor.catalog import CATALOG
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import EngineCall, EngineReply, Via
from infrastructor.service import UnifiedDataCollectionService
from tests.fakes import (
    FakeAudit,
    FakeCache,
    FakeContainers,
    FakeDevices,
    FakeEvents,
    FakeMetrics,
    FakePlans,
    FakeSSH,
    device,
)

START = datetime(2026, 11, 21, tzinfo=UTC)
INSPECTED = b'{"Id": "a", "Name": "/web", "Config": {}, "State": {"Status": "running"}}'
VIEWER = Caller(principal="vera", role=Role.VIEWER, interface=Interface.MCP)


class Engine(FakeSSH):
    """Has the log of one container, a line a second, and counts `tail` from its end as Docker does."""

    def __init__(self, lines: int, padding: int = 0) -> None:
        super().__init__(replies={"/containers/web/json": INSPECTED})
        texts = (f"{START + timedelta(seconds=n):%FT%TZ} line {n} {'x' * padding}\n".encode() for n in range(lines))
        self.frames = [b"\1\0\0\0" + len(text).to_bytes(4, "big") + text for text in texts]
        self.asked = 0

    async def ask_engine(self, device: Device, call: EngineCall) -> EngineReply:
        url = urlsplit(call.target)
        if not url.path.endswith("/logs"):
            return await super().ask_engine(device, call)
        self.asked += 1
        body = b"".join(self.frames[-int(parse_qs(url.query)["tail"][0]) :])
        most = call.max_output_bytes
        return EngineReply(status=200, body=body[:most], via=Via.SOCKET, truncated=len(body) > most)


async def ask(engine: Engine, **arguments: Any) -> Any:
    service = UnifiedDataCollectionService(
        operations=CATALOG, devices=FakeDevices(device("nas")), ssh=engine, cache=FakeCache(), audit=FakeAudit(),
        metrics=FakeMetrics(), plans=FakePlans(), events=FakeEvents(), containers=FakeContainers(),
    )  # fmt: skip
    operation = service.operation("container_logs")
    return (await service.submit(operation, {"device": "nas", "container": "web", **arguments}, VIEWER)).result


async def test_what_is_far_behind_the_newest_lines_is_reached_by_cursor() -> None:
    engine = Engine(90_000)
    wanted = {"until": (START + timedelta(seconds=9)).isoformat(), "tail": 3}
    page = await ask(engine, **wanted)
    assert "With since as well" in page.hint
    pages = 1
    while not page.lines:
        page, pages = await ask(engine, **wanted, cursor=page.next_cursor), pages + 1
    assert [line.text for line in page.lines] == ["line 7 ", "line 8 ", "line 9 "]
    assert pages == 3
    older = await ask(engine, **wanted, cursor=page.next_cursor)
    assert [line.text for line in older.lines] == ["line 4 ", "line 5 ", "line 6 "]


async def test_what_no_window_reaches_is_said_not_promised() -> None:
    engine = Engine(3000, padding=15_000)
    page = await ask(engine, grep="line 1 ")
    while page.next_cursor is not None:
        page = await ask(engine, grep="line 1 ", cursor=page.next_cursor)
    assert page.lines == []
    assert page.hint.endswith("ask for it with since and until.")
    assert engine.asked < 20
