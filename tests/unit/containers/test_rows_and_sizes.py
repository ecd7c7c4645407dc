"""Rows, references, ports and sizes of answers, from recorded engines."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructor.catalog import CATALOG
from infrastructor.domains.containers import rows
from infrastructor.domains.containers.reach import choose
from infrastructor.domains.containers.rows import Port, Row, short_image, short_ports
from infrastructor.errors import (
    CommandFailed,
    CommandNotAvailable,
    Conflict,
    EngineUnavailable,
    InfrastructorError,
    NotFound,
)
from infrastructor.operation import Answer
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import Capabilities, CommandLine, CommandOutput
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

FIXTURES = Path(__file__).parents[2] / "fixtures" / "containers"
RECORDED = (FIXTURES / "QueryContainers" / "docker-20.10.out").read_bytes()
VIEWER = Caller(principal="bob", role=Role.VIEWER, interface=Interface.MCP)


async def ask(ssh: FakeSSH, name: str, **arguments: object) -> Answer[object]:
    service = UnifiedDataCollectionService(
        operations=CATALOG,
        devices=FakeDevices(device("nas")),
        ssh=ssh,
        cache=FakeCache(),
        audit=FakeAudit(),
        metrics=FakeMetrics(),
        plans=FakePlans(),
        events=FakeEvents(),
        containers=FakeContainers(),
    )
    return await service.submit(service.operation(name), {"device": "nas", **arguments}, VIEWER)


def many(count: int) -> bytes:
    """The recorded list again and again, under names and ids of its own."""
    recorded = json.loads(RECORDED)
    return json.dumps(
        [
            {**row, "Id": f"{number:064x}", "Names": [f"{row['Names'][0]}-number-{number}"]}
            for number in range(count)
            for row in [recorded[number % len(recorded)]]
        ]
    ).encode()


@pytest.mark.parametrize("detail", [False, True])
async def test_five_hundred_containers_come_in_pages_that_fit_and_miss_none(detail: bool) -> None:
    ssh = FakeSSH(replies={"/containers/json": many(500)})
    names: list[str] = []
    cursor = None
    for _ in range(30):
        arguments = {"cursor": cursor} if cursor else {}
        answer = await ask(ssh, "container_list", detail=detail, limit=500, **arguments)
        assert len(answer.body) <= 40_000
        result = json.loads(answer.body)
        assert result["total"] == 500
        names += [row["name"] for row in result["containers"]]
        cursor = result["next_cursor"]
        if cursor is None:
            break
    assert len(names) == len(set(names)) == 500


async def test_problems_come_first() -> None:
    answer = await ask(FakeSSH(replies={"/containers/json": RECORDED}), "container_list")
    result = json.loads(answer.body)
    assert [text.split()[0] for text in result["problems"]] == ["crashed", "hog", "looping", "nextcloud", "paused"]
    assert [row["name"] for row in result["containers"][:5]] == ["crashed", "hog", "looping", "nextcloud", "paused"]


@pytest.mark.parametrize(
    ("tools", "said", "error", "words"),
    [
        (set(), "docker: not found", CommandNotAvailable, "neither docker nor podman"),
        (
            {"docker"},
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.",
            EngineUnavailable,
            "answer",
        ),
        ({"docker"}, "permission denied while trying to connect to the Docker daemon socket", EngineUnavailable, "may"),
        ({"docker"}, "Error response from daemon: disk on fire", CommandFailed, "disk on fire"),
    ],
)
async def test_what_is_wrong_with_an_engine_is_told_apart(
    tools: set[str], said: str, error: type[Exception], words: str
) -> None:
    status = 127 if not tools else 1
    ssh = FakeSSH(
        outputs={"docker": CommandOutput(exit_status=status, stdout=b"", stderr=said.encode())},
        found=Capabilities(user="bob", tools=frozenset(tools)),
    )
    with pytest.raises(error, match=words) as caught:
        await ask(ssh, "container_list")
    assert caught.value.hint  # type: ignore[attr-defined]


class Passing(FakeSSH):
    """A device with only the program, on which one of two containers goes between the list and the look at it."""

    def __init__(self) -> None:
        super().__init__(found=Capabilities(user="root", is_root=True, tools=frozenset({"docker"})))
        self.looked = 0

    async def execute_command(self, device: Device, line: CommandLine, **values: Any) -> CommandOutput:
        await super().execute_command(device, line, **values)
        if line.text.startswith("docker ps"):
            names = ("stays",) if self.looked else ("stays", "goes")
            row = {"Image": "i", "State": "running", "Status": "Up", "CreatedAt": "", "Ports": "", "Networks": ""}
            rows_ = [json.dumps(row | {"ID": name, "Names": name, "Labels": ""}) for name in names]
            return CommandOutput(exit_status=0, stdout="\n".join(rows_).encode())
        if line.text.startswith("docker container inspect"):
            self.looked += 1
            if "goes" in line.text:
                return CommandOutput(exit_status=1, stdout=b"[]", stderr=b"Error: No such container: goes")
            found = {"Id": "stays", "Name": "/stays", "Config": {}, "State": {"Status": "running"}}
            return CommandOutput(exit_status=0, stdout=json.dumps([found]).encode())
        return CommandOutput(exit_status=0, stdout=b"")


async def test_a_container_that_goes_meanwhile_does_not_hide_the_others() -> None:
    result = json.loads((await ask(Passing(), "container_health")).body)
    assert (result["total"], result["running"], result["verdict"]) == (1, 1, "green")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("port_list", {}), ("docker_network_list", {}), ("log_query", {"source": "container:web"})],
)
@pytest.mark.parametrize("sudo", ["nopasswd", "none"])
async def test_what_else_asks_the_engines_program_gets_sudo_too(
    name: str, arguments: dict[str, str], sudo: str
) -> None:
    found = Capabilities(user="bob", sudo=sudo, tools=frozenset({"docker", "sudo"}))
    ssh = FakeSSH(found=found)
    with contextlib.suppress(InfrastructorError):  # what the engine says is none of this test's business
        await ask(ssh, name, **arguments)
    by_engine = [line.sudo for line in ssh.lines if "docker" in line.text]
    assert by_engine
    assert set(by_engine) == {sudo == "nopasswd"}


async def test_a_login_that_needs_sudo_gets_it_and_podman_is_asked_in_its_words() -> None:
    podman = (FIXTURES / "PodmanListContainers" / "podman-4.3.out").read_bytes()
    ssh = FakeSSH(
        outputs={"podman": CommandOutput(exit_status=0, stdout=podman)},
        found=Capabilities(user="bob", sudo="nopasswd", tools=frozenset({"podman", "sudo"})),
    )
    answer = await ask(ssh, "container_list")
    assert json.loads(answer.body)["engine"] == "podman"
    assert ssh.sent == [("nas", "podman ps --all --format json")]
    assert ssh.lines[0].sudo


IDS = st.text("0123456789abcdef", min_size=8, max_size=8)


@given(ids=st.lists(IDS, min_size=1, max_size=30, unique=True), length=st.integers(1, 8), data=st.data())
def test_a_reference_means_one_container_or_names_all_it_could_mean(
    ids: list[str], length: int, data: st.DataObject
) -> None:
    known = [Row(id=identity, name=f"c-{identity}", image="x", state="running", status="") for identity in ids]
    start = data.draw(st.sampled_from(ids))[:length]
    meant = [row for row in known if row.id.startswith(start)]
    if len(meant) == 1:
        assert choose(known, start, "nas") is meant[0]
    else:
        with pytest.raises(Conflict, match=f"start of {len(meant)}"):
            choose(known, start, "nas")
    with pytest.raises(NotFound):
        choose(known, "zz", "nas")


def test_a_name_goes_before_an_id_that_starts_the_same() -> None:
    named = Row(id="1" * 64, name="abc", image="x", state="running", status="")
    other = Row(id="abc" + "1" * 61, name="other", image="x", state="running", status="")
    assert choose([other, named], "abc", "nas") is named
    assert choose([other, named], "ABC1", "nas") is other


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("0.0.0.0:443->443/tcp, [::]:443->443/tcp, 127.0.0.1:8081->80/tcp, 5432/tcp", ["443", "127.0.0.1:8081->80"]),
        ("0.0.0.0:9080-9082->8080-8082/tcp, :::9080-9082->8080-8082/tcp", ["9080-9082->8080-8082"]),
        ("0.0.0.0:53->53/udp", ["53/udp"]),
        ("[::1]:80->80/tcp", ["[::1]:80"]),
        ("", []),
        ("nonsense", []),
    ],
)
def test_ports_are_written_short(text: str, short: list[str]) -> None:
    line = {"ID": "a", "Names": "n", "Image": "i", "State": "running", "Status": "Up", "Labels": "", "Networks": ""}
    [row] = rows.from_lines(json.dumps({**line, "Ports": text}).encode())
    assert short_ports(row.ports) == short


@given(
    st.lists(st.builds(Port, st.integers(1, 65535), st.sampled_from(["tcp", "udp"]), st.integers(1, 65535), st.none()))
)
def test_short_ports_name_every_published_port_once(ports: list[Port]) -> None:
    found = set()
    for text in short_ports(ports):
        body, _, kind = text.partition("/")
        host, _, inside = body.partition("->")
        first, _, last = host.partition("-")
        start = int((inside or host).partition("-")[0])
        for step in range(int(last or first) - int(first) + 1):
            found.add((start + step, kind or "tcp", int(first) + step))
    assert found == {(port.container, port.kind, port.host) for port in ports}


def test_images_are_written_short() -> None:
    assert [
        short_image(image)
        for image in (
            "lscr.io/linuxserver/swag:latest",
            "docker.io/library/postgres:16@sha256:" + "0" * 64,
            "localhost:5000/x/y:1.2",
            "busybox",
            "sha256:" + "a" * 64,
        )
    ] == ["linuxserver/swag", "postgres:16", "x/y:1.2", "busybox", "sha256:" + "a" * 12]
