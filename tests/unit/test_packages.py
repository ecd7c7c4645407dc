"""package_updates: what must not be mistaken for "nothing to do"."""

import pytest

from infrastructor.domains.packages.commands import ListAptUpdates, ListDnfUpdates
from infrastructor.domains.packages.reboot import ReadRebootState, RebootState
from infrastructor.errors import ParseError
from infrastructor.ports import Capabilities, CommandOutput

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
