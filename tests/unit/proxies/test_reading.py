"""How a SWAG is found and read when things are not as they should be; over a device of canned answers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infrastructor.catalog import CATALOG
from infrastructor.domains.proxies.parsers import parse_files, parse_test
from infrastructor.errors import Conflict, NotFound, ParseError, PermissionDenied, ValidationFailed
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

FILES = (Path(__file__).parents[2] / "fixtures/proxies/ReadProxyConfigs/debian-12.out").read_bytes()
FOLDER = "/srv/appdata/swag"
ADMIN = Caller(principal="anna", role=Role.ADMIN, interface=Interface.REST)


@dataclass
class Shell(FakeSSH):
    """Answers scripts one after the other; the last one for ever."""

    answers: list[bytes | CommandOutput] = field(default_factory=list)
    seen: list[CommandLine] = field(default_factory=list)

    async def execute_command(self, device: Device, line: CommandLine, **more: Any) -> CommandOutput:
        if "proxy-confs/*.conf" not in line.text:
            return await super().execute_command(device, line, **more)
        self.seen.append(line)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer if isinstance(answer, CommandOutput) else CommandOutput(exit_status=0, stdout=answer)


async def ask(ssh: FakeSSH, operation_name: str, **arguments: Any) -> Any:
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
    operation = service.operation(operation_name)
    return (await service.submit(operation, {"device": "nas", "swag": FOLDER, **arguments}, ADMIN)).result


async def test_a_folder_is_read_in_one_command() -> None:
    ssh = Shell(answers=[FILES])
    found = await ask(ssh, "proxy_config_list")
    assert len(ssh.seen) == 1
    assert [(one.service, one.state, one.upstreams) for one in found.configs] == [
        *(("grafana", "enabled", ["http://grafana:3000"]), ("old", "disabled", ["http://old:1"])),
        ("sonarr", "enabled", ["http://sonarr:8989"]),
    ]
    assert found.counts == {"enabled": 2, "disabled": 1, "samples": 4, "with_problems": 0}


async def test_files_that_change_while_they_are_read_are_read_again() -> None:
    changing = FILES.replace(b"\nend\n", b"0\nend\n")  # the last name of the second list is another
    ssh = Shell(answers=[changing, FILES])
    assert (await ask(ssh, "proxy_sample_list")).total == 4
    assert len(ssh.seen) == 2
    with pytest.raises(ParseError, match="changed each time"):
        await ask(Shell(answers=[changing]), "proxy_sample_list")


async def test_what_the_login_may_not_read_is_read_as_root() -> None:
    denied = b"denied proxy-confs\nfiles 0\n\nend\n"
    ssh = Shell(answers=[denied, FILES], found=Capabilities(sudo="nopasswd", user="anna"))
    assert (await ask(ssh, "proxy_sample_list")).total == 4
    assert [line.sudo for line in ssh.seen] == [False, True]
    with pytest.raises(PermissionDenied, match="may not read"):
        await ask(Shell(answers=[denied], found=Capabilities(user="anna")), "proxy_sample_list")


async def test_a_folder_that_is_not_there_is_told() -> None:
    gone = CommandOutput(exit_status=3, stdout=b"")
    with pytest.raises(NotFound, match="has no folder /srv/appdata/swag/nginx"):
        await ask(Shell(answers=[gone]), "proxy_config_list")


@pytest.mark.parametrize("swag", ["/srv/../etc", "relative/path", "-x", "/a\nb", ""])
async def test_no_other_path_gets_through(swag: str) -> None:
    with pytest.raises(ValidationFailed):
        await ask(Shell(answers=[FILES]), "proxy_config_list", swag=swag)


async def test_without_a_container_nothing_that_nginx_reads_is_changed() -> None:
    ssh = Shell(answers=[FILES])
    with pytest.raises(Conflict, match="nginx cannot judge"):
        await ask(ssh, "proxy_config_enable", service="radarr")
    assert not any("infrastructor" in line.text for line in ssh.lines)


async def test_a_name_that_is_nobodys_is_told_with_near_ones() -> None:
    with pytest.raises(NotFound) as told:
        await ask(Shell(answers=[FILES]), "proxy_config_get", service="sonar")
    assert "sonarr.subdomain" in told.value.hint


async def test_a_whole_swag_fits_into_an_answer() -> None:
    """Six hundred samples and four hundred enabled configurations, in pages."""
    content = b"x" * 0
    stats = [f"0 1 1 {number} 81a4 0 0 proxy-confs/service{number}.subdomain.conf" for number in range(400)]
    stats += [f"0 1 1 {number} 81a4 0 0 proxy-confs/service{number}.subdomain.conf.sample" for number in range(600)]
    listing = "\n".join(f"file {stat}" for stat in stats) + f"\nfiles {len(stats)}\n"
    output = listing.encode() + content + ("\n" + "\n".join(stats) + "\nend\n").encode()
    for operation in ("proxy_config_list", "proxy_sample_list"):
        cursor, seen = None, 0
        while True:
            page = await ask(Shell(answers=[output]), operation, limit=500, cursor=cursor)
            assert len(page.model_dump_json()) <= 40_000
            seen += len(getattr(page, "configs", None) or page.samples)
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == page.total


@pytest.mark.parametrize(
    "output", [b"", b"files 1\n", b"file x\n", b"files 0\n", b"nonsense\n", b"file 5 1 1 1 81a4 0 0 a\nfiles 1\nab"]
)
def test_what_is_no_list_is_not_understood(output: bytes) -> None:
    with pytest.raises(ParseError):
        parse_files(output, missing=False)


def test_an_nginx_that_says_nothing_understandable_has_not_judged() -> None:
    killed = parse_test(CommandOutput(exit_status=1, stdout=b"", stderr=b"Error response from daemon: not running\n"))
    assert (killed.passed, killed.messages[0].level) == (None, "engine")
    passed = parse_test(CommandOutput(exit_status=0, stdout=b"", stderr=b"anything\n"))
    assert (passed.passed, passed.messages) == (True, ())
