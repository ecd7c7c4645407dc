"""What a stream tells of itself, and what its end means."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from infrastructor.domains.zfs.direct_commands import remote
from infrastructor.domains.zfs.streaming import Watch, readable
from infrastructor.domains.zfs.transfer import known_hosts
from infrastructor.errors import CommandFailed, InfrastructorError, OutcomeUnknown
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import Flow
from tests.test_fixtures import FIXTURES

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAS, VAULT = (Device(id=uuid4(), hostname=name, created_at=NOW, updated_at=NOW) for name in ("nas", "vault"))
DIRECTLY = FIXTURES / "zfs" / "StreamDirectly"


def watch(*lines: bytes, size: int | None = None) -> Watch:
    made = Watch(flow=Flow(), size=size, before=0, name="tank/data@s1")
    for line in lines:
        made.line(line)
    return made


@pytest.mark.parametrize("machine", ["zfs-2.1.11", "zfs-2.3.2"])
def test_a_recorded_stream_that_ended_well(machine: str) -> None:
    told = watch(*(DIRECTLY / f"{machine}.out").read_bytes().splitlines())
    told.check(NAS, VAULT)
    assert (told.statuses, list(told.said)) == ({"send": 0, "receive": 0}, [])
    assert told.flow.moved > 0


@pytest.mark.parametrize("machine", ["zfs-2.1.11", "zfs-2.3.2"])
def test_a_recorded_stream_that_was_not_let_in(machine: str) -> None:
    told = watch(*(DIRECTLY / f"{machine}-refused.out").read_bytes().splitlines())
    with pytest.raises(OutcomeUnknown, match=r"from nas to vault broke: .*Permission denied"):
        told.check(NAS, VAULT)


@pytest.mark.parametrize(
    ("lines", "error", "said"),
    [
        ([b"cannot receive: full", b"receive 1", b"send 141"], CommandFailed, "zfs receive on vault .* cannot receive"),
        ([b"cannot open", b"send 1", b"receive 1"], CommandFailed, "zfs send on nas ended with status 1 .*cannot open"),
        ([b"neither pv nor mbuffer", b"send 141", b"receive 1"], CommandFailed, "neither pv"),
        ([b"receive 0"], OutcomeUnknown, "broke: nothing"),
        ([], OutcomeUnknown, "broke"),
        ([b"client_loop: send disconnect", b"send 141", b"receive 255"], OutcomeUnknown, "disconnect"),
    ],
)
def test_what_its_end_means(lines: list[bytes], error: type[InfrastructorError], said: str) -> None:
    with pytest.raises(error, match=said):
        watch(*lines).check(NAS, VAULT)


def test_progress_is_the_most_that_was_told() -> None:
    told = watch(b"08:33:47\t135400\ttank/data@s1", b"08:33:48\t235400\ttank/data@s1", b"size\t999")
    assert told.flow.moved == 235400
    assert list(told.said) == []


def test_it_says_how_far_it_is_and_how_long_it_takes() -> None:
    assert watch(size=4 << 30).message(1 << 30, 100 << 20) == (
        "tank/data@s1: 1.0 GiB of 4.0 GiB, 100.0 MiB/s, 31 s left"
    )
    assert watch().message(512, 0.0) == "tank/data@s1: 512 B, 0 B/s"
    assert readable(3 << 40) == "3.0 TiB"


def test_the_other_login_shell_sees_one_quoted_word() -> None:
    line = remote("zfs receive -s -u -- 'backup/a b'")
    assert line.startswith("exec /bin/sh -c '")
    assert "\n" not in line
    assert known_hosts("alias", ["ssh-ed25519 A", "ssh-rsa B"]) == "alias ssh-ed25519 A\nalias ssh-rsa B"
