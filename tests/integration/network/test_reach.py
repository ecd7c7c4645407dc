"""Interfaces, and whether targets answer, on real hosts."""

import asyncio
import http.server
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infrastructor.errors import CommandNotAvailable, ValidationFailed
from infrastructor.ssh import AsyncSSHClient
from tests.fakes import device as device_of
from tests.integration.network.conftest import Ask, asker
from tests.integration.ssh.test_small_systems import APPLETS, Dropbear, connected
from tests.support.programs import need_root, program
from tests.support.sshd import Sshd, local_device

# In the group, for its interfaces show among the routes that the tests of networks compare.
pytestmark = [pytest.mark.xdist_group("docker"), pytest.mark.timeout(120)]


class Pages(http.server.BaseHTTPRequestHandler):
    """Every path but a few is there."""

    def do_HEAD(self) -> None:
        status = {"/gone": 404, "/moved": 302}.get(self.path, 200)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://localhost/elsewhere?token=s3cret")
        self.end_headers()

    def log_message(self, *words: object) -> None:
        return None


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    server.handle_error = lambda *words: None  # type: ignore[method-assign]
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def web() -> Iterator[int]:
    with serving() as port:
        yield port


@pytest.fixture
def tls_web(tmp_path: Path) -> Iterator[int]:
    """A page behind a certificate of its own that ends in 40 days."""
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "40"]
    subprocess.run(
        [program("openssl"), *map(str, words), "-subj", "/O=Home Lab/CN=localhost"], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(context) as port:
        yield port


@pytest.fixture
def closed() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def local(client: AsyncSSHClient) -> Ask:
    return asker(client, local_device())


async def test_each_step_to_a_page_is_told(local: Ask, web: int) -> None:
    found = await local("connectivity_check", target=f"http://localhost:{web}/here")
    assert found.outcome == "ok"
    assert [(step.step, step.outcome) for step in found.steps] == [("dns", "ok"), ("tcp", "ok"), ("http", "ok")]
    assert found.http_status == 200
    assert all(step.tool for step in found.steps)


async def test_the_ways_to_fail_are_told_apart(local: Ask, web: int, closed: int) -> None:
    refused = await local("connectivity_check", target=f"127.0.0.1:{closed}")
    assert (refused.outcome, [step.step for step in refused.steps]) == ("refused", ["tcp"])
    gone = await local("connectivity_check", target=f"http://127.0.0.1:{web}/gone")
    assert (gone.outcome, gone.http_status) == ("http_error", 404)
    moved = await local("connectivity_check", target=f"http://127.0.0.1:{web}/moved")
    assert (moved.outcome, moved.redirects_to) == ("ok", "http://localhost/elsewhere")


async def test_a_certificate_nobody_trusts_is_shown_with_its_end(local: Ask, tls_web: int) -> None:
    found = await local("connectivity_check", target=f"https://localhost:{tls_web}/")
    assert (found.outcome, found.steps[-1].step, found.http_status) == ("tls_error", "tls", None)
    assert found.certificate_days_left == 39
    assert "Home Lab" in found.certificate_issuer


async def test_a_metadata_address_is_refused_before_anything_is_sent(local: Ask) -> None:
    with pytest.raises(ValidationFailed, match="metadata"):
        await local("connectivity_check", target="http://169.254.169.254/latest/")


async def test_interfaces_of_this_machine(local: Ask) -> None:
    found = await local("network_interfaces")
    [loopback] = [row for row in found.interfaces if row.name == "lo"]
    assert loopback.kind == "loopback"
    assert "127.0.0.1/8" in loopback.addresses
    assert (loopback.mac, loopback.speed_mbps) == (None, None)


async def test_a_login_that_is_not_root_is_told_what_it_misses(
    client: AsyncSSHClient, docker_host: Sshd, plain_user: str, web: int
) -> None:
    ask = asker(client, docker_host.device("nas", ssh_username=plain_user))
    found = await ask("port_list", match=f"tcp/{web}")
    assert [(row.port, row.process) for row in found.ports] == [(web, None)]
    assert any("the login is not root" in said for said in found.problems)


async def test_busybox_alone_tells_ports_and_tries_targets(
    client: AsyncSSHClient, ssh_folder: Path, web: int, closed: int
) -> None:
    need_root()
    folder = ssh_folder / "router"
    folder.mkdir()
    more = ["awk", "grep", "tail", "dd", "timeout", "nc", "nslookup"]
    server = Dropbear(folder, APPLETS + more)
    server.start()
    try:
        ask = asker(client, await connected(client, server))
        ports = await ask("port_list", match=f"tcp/{server.port}")
        assert [(row.port, row.process, row.scope) for row in ports.ports] == [(server.port, "dropbear", "loopback")]
        page = await ask("connectivity_check", target=f"http://127.0.0.1:{web}/gone")
        assert (page.outcome, page.http_status, page.steps[-1].tool) == ("http_error", 404, "nc")
        refused = await ask("connectivity_check", target=f"127.0.0.1:{closed}")
        assert refused.outcome == "refused"
        with pytest.raises(CommandNotAvailable):
            await ask("docker_network_list")
    finally:
        await client.forget(device_of("router").id)
        server.stop()


async def test_a_silent_host_is_a_timeout(local: Ask) -> None:
    """A listener whose queue is full drops what knocks."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(server.getsockname())
            await asyncio.sleep(0.2)
            found = await local("connectivity_check", target=f"127.0.0.1:{server.getsockname()[1]}")
        finally:
            for one in waiting:
                one.close()
    assert (found.outcome, found.steps[-1].outcome) == ("timeout", "timeout")
