"""A host whose engine runs a SWAG with a real nginx."""

import http.client
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infrastructor.ssh import AsyncSSHClient
from tests.support import swag as support
from tests.support.containers import Host
from tests.support.docker import DockerEngine
from tests.support.sshd import Sshd
from tests.support.wait import until

NETWORK = "proxynet"


@pytest.fixture(scope="session")
def swag_image(docker_engine: DockerEngine, ssh_folder: Path) -> Iterator[str]:
    root = support.make_root(ssh_folder / "swag-root")
    support.import_image(docker_engine, root, support.IMAGE)
    yield support.IMAGE
    shutil.rmtree(root, ignore_errors=True)


@dataclass
class Swag:
    """The SWAG of the host `nas`: its files as they are on it, and its nginx over TLS."""

    host: Host
    nginx: Path

    @property
    def confs(self) -> Path:
        return self.nginx / "proxy-confs"

    async def ask(self, operation: str, /, **arguments: Any) -> Any:
        return await self.host.ask(operation, **arguments)

    def enable(self, name: str, text: str | None = None) -> Path:
        """Put a configuration there by hand, as its sample or with a text of its own."""
        path = self.confs / f"{name}.conf"
        path.write_text(text if text is not None else (self.confs / f"{name}.conf.sample").read_text())
        return path

    def get(self, name: str, path: str = "/") -> tuple[int, str]:
        """Status and body of a request to a server name."""
        inspected: Any = self.host.engine.inspect("swag")
        address = inspected["NetworkSettings"]["Networks"][NETWORK]["IPAddress"]
        context = ssl._create_unverified_context()
        with socket.create_connection((address, 443), timeout=10) as plain:
            connection = http.client.HTTPConnection(name)
            with context.wrap_socket(plain, server_hostname=name) as connection.sock:
                connection.request("GET", path, headers={"Connection": "close"})
                with connection.getresponse() as reply:
                    return reply.status, reply.read().decode()

    def serves(self) -> bool:
        try:
            return self.get("any.example.test", "/alive") == (200, "alive\n")
        except OSError:
            return False

    def serve(self, name: str, port: int, *options: str, address: str = "0.0.0.0") -> None:
        """A container that answers on a port with its own name."""
        page = f"mkdir -p /www; echo {name} >/www/index.html; exec busybox httpd -f -p {address}:{port} -h /www"
        script = page.replace("mkdir", "busybox mkdir")
        self.host.run(name, "sh", "-c", script, options=options or ("--network", NETWORK))


@pytest.fixture
async def swag(
    client: AsyncSSHClient, docker_host: Sshd, docker_engine: DockerEngine, swag_image: str, tmp_path: Path
) -> AsyncIterator[Swag]:
    host = Host(client, docker_host.device("nas"), docker_engine)
    nginx = support.write_config(tmp_path / "swag")
    docker_engine.docker("network", "create", NETWORK)
    options = ("--network", NETWORK, "-v", f"{tmp_path / 'swag'}:/config")
    host.run("swag", "nginx", "-g", "daemon off;", options=options, image=swag_image)
    found = Swag(host, nginx)
    await until(found.serves, 20)  # what a test writes too early would keep nginx from starting
    yield found
    docker_engine.remove_all()
