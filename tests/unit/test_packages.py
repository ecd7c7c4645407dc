"""package_updates: what must not be mistaken for "nothing to do"; and what was done."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infrastructor.domains.packages.changes import ReadPackageChanges, by_occasion
from infrastructor.domains.packages.commands import ListAptUpdates, ListDnfUpdates
from infrastructor.domains.packages.reboot import ReadRebootState, RebootState
from infrastructor.domains.packages.zypper import ListZypperUpdates
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import Capabilities, CommandOutput

PENDING = Path(__file__).parents[1] / "fixtures/packages/ListZypperUpdates/zypper-1.14-pending.out"

# dnf 4.14 says this with status 0.
_NO_LISTS = b"""==> /manager <==
dnf
==> /updates <==
Error: Cache-only enabled but no cache for 'baseos'
Ignoring repositories: baseos
==> /status <==
0
"""


def test_missing_lists_are_no_empty_answer() -> None:
    with pytest.raises(ParseError, match="no package lists"):
        ListDnfUpdates().parse(CommandOutput(exit_status=0, stdout=_NO_LISTS))


@pytest.mark.parametrize(
    ("os_id", "tools", "chosen"),
    [
        ("debian", {"apt-get", "dnf", "pacman"}, "ListAptUpdates"),
        ("fedora", {"apt-get", "dnf"}, "ListDnfUpdates"),
        ("centos", {"yum", "rpm"}, "ListDnfUpdates"),
        ("opensuse-leap", {"zypper", "rpm", "dnf"}, "ListZypperUpdates"),
        ("sles", {"zypper"}, "ListZypperUpdates"),
        ("debian", {"apt-get", "zypper"}, "ListAptUpdates"),
        ("alpine", {"apk", "busybox"}, "ListApkUpdates"),
        ("arch", {"pacman"}, "ListPacmanUpdates"),
    ],
)
def test_each_system_is_asked_by_its_own_manager(os_id: str, tools: set[str], chosen: str) -> None:
    command = ListAptUpdates().variant(Capabilities(os_id=os_id, tools=frozenset(tools)))
    assert type(command).__name__ == chosen


def state(running: str, modules: str) -> RebootState:
    text = (
        f"==> /running <==\n{running}\n==> /kernels <==\n{modules}\n==> /boot <==\n==> /flag <==\n==> /packages <==\n"
    )
    return ReadRebootState().parse(CommandOutput(exit_status=0, stdout=text.encode()))


def test_kernels_are_compared_by_number_and_only_within_their_flavour() -> None:
    assert state("6.1.0-9-amd64", "6.1.0-9-amd64\n6.1.0-40-amd64").required is True
    assert state("6.1.0-9-amd64", "6.1.0-9-amd64\n6.1.0-40-cloud-amd64").required is False
    assert state("6.12.38+deb13-amd64", "6.12.38+deb13-amd64\n6.12.43+deb13-amd64").required is True
    assert state("5.15.0-custom", "").required is None


def test_zypper_without_any_list_is_not_up_to_date() -> None:
    with pytest.raises(ParseError, match="no package lists yet") as caught:
        ListZypperUpdates().parse(
            CommandOutput(exit_status=0, stdout=b"\n==> /lists <==\n\n==> /now <==\n1795277213\n")
        )
    assert "zypper refresh" in caught.value.hint


def test_a_document_that_declares_entities_is_not_unfolded() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><stream>&b;</stream>'
    output = b"==> /updates <==\n" + bomb + b"\n==> /lists <==\n1\n==> /now <==\n2\n"
    with pytest.raises(ParseError, match="Not XML of zypper"):
        ListZypperUpdates().parse(CommandOutput(exit_status=0, stdout=output))


def test_of_a_patch_every_package_it_replaces_is_a_security_fix() -> None:
    told = PENDING.read_text()
    found = ListZypperUpdates().parse(CommandOutput(exit_status=0, stdout=told.encode())).updates
    assert {row.name: row.security for row in found} == {
        "curl": False, "kernel-default": True, "libopenssl3": True, "openssl": True,
    }  # fmt: skip
    # As servers with many architectures print it; a source package is none that is installed.
    real = told.replace("openssl &lt; 3.1", "openssl.x86_64 &lt; 3.1").replace(
        "kernel-default &lt;", "srcpackage:kernel-default &lt;"
    )
    again = ListZypperUpdates().parse(CommandOutput(exit_status=0, stdout=real.encode())).updates
    assert [row.name for row in again if row.security] == ["libopenssl3", "openssl"]
    # Where the texts of the patches did not come, nobody knows.
    head, _, rest = told.partition("==> /about <==")
    silent = head + "==> /about <==\n\n==> /locks" + rest.partition("==> /locks")[2]
    nobody = ListZypperUpdates().parse(CommandOutput(exit_status=0, stdout=silent.encode())).updates
    assert {row.security for row in nobody} == {None}


def test_what_was_installed_is_told_by_the_clock_of_the_world_and_by_occasion() -> None:
    said = b"""==> /zone <==
+0530
==> /dpkg <==
2026-11-21 05:30:00 upgrade nginx:amd64 1.22-1 1.24-1
2026-11-21 05:30:07 install jq:amd64 <none> 1.7-2
2026-11-21 05:40:00 remove jq:amd64 1.7-2 <none>
2026-11-21 05:40:01 purge jq:amd64 <none> <none>
2026-99-99 05:40:01 install odd:amd64 <none> 1
"""
    log = ReadPackageChanges(0, 1).parse(CommandOutput(exit_status=0, stdout=said))
    runs = list(by_occasion(log.changes, timedelta(seconds=60)))
    assert [[change.text for change in run] for run in runs] == [
        ["nginx 1.22-1 → 1.24-1", "jq 1.7-2 installed"],
        ["jq 1.7-2 removed"],
    ]
    assert runs[0][0].at == datetime(2026, 11, 21, tzinfo=UTC)
    assert not ReadPackageChanges(0, 1).parse(CommandOutput(exit_status=0, stdout=b"==> /zone <==\n-0300\n")).kept
