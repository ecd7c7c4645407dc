import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructor.errors import ParseError
from infrastructor.ports.ssh import Capabilities, CommandOutput
from infrastructor.ssh.probe import parse

DEBIAN = b"""uid 1000
user ops
uname Linux 6.1.0-30-amd64 x86_64
os PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
os VERSION_ID="12"
os ID=debian
tool cat /usr/bin/cat
tool docker /usr/bin/docker
tool sudo /usr/bin/sudo
tool zfs /usr/sbin/zfs
systemd yes
socket /var/run/docker.sock
socket /run/docker.sock
ls /usr/bin/ls
zfs zfs-2.1.11-1
sudo nopasswd
"""

ROUTER = b"""uid 0
user root
uname Linux 5.15.150 mips
os ID="openwrt"
os VERSION_ID="23.05.3"
tool cat /bin/cat
tool busybox /bin/busybox
ls /bin/busybox
"""


def test_a_debian_user_with_sudo() -> None:
    assert parse(CommandOutput(exit_status=0, stdout=DEBIAN)) == Capabilities(
        system="Linux",
        kernel="6.1.0-30-amd64",
        machine="x86_64",
        os_id="debian",
        os_version="12",
        os_name="Debian GNU/Linux 12 (bookworm)",
        user="ops",
        sudo="nopasswd",
        tools=frozenset({"cat", "docker", "sudo", "zfs"}),
        docker_socket="/var/run/docker.sock",
        zfs_version="2.1.11-1",
        systemd=True,
    )


def test_a_busybox_router() -> None:
    found = parse(CommandOutput(exit_status=0, stdout=ROUTER))
    assert (found.busybox, found.is_root, found.sudo, found.os_name) == (True, True, "root", None)


def test_a_device_without_id_and_uname_is_still_described() -> None:
    found = parse(CommandOutput(exit_status=0, stdout=b"uid \nuser \nuname   \n"))
    assert found == Capabilities()


def test_nothing_is_no_answer() -> None:
    with pytest.raises(ParseError):
        parse(CommandOutput(exit_status=0, stdout=b"Welcome!\n"))


@given(st.binary(max_size=500))
def test_no_output_breaks_the_parser(noise: bytes) -> None:
    parse(CommandOutput(exit_status=0, stdout=b"uid 1\n" + noise))
