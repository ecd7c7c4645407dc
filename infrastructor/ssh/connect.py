"""Reaching a device: TCP, handshake, login. Every step has a deadline, every failure a name."""

import asyncio
import random
import socket
from typing import Any

import asyncssh

from infrastructor.errors import (
    HostKeyUntrusted,
    SSHConnectionError,
    SSHTimeout,
)
from infrastructor.ports.devices import Device, HostKey
from infrastructor.settings import Settings
from infrastructor.ssh import receive, slim
from infrastructor.ssh.algorithms import host_key_algorithms, offered
from infrastructor.ssh.connection import Owner, SSHCarrier
from infrastructor.ssh.explain import Dropped, Offer, address_of, as_error, as_host_key, explain, where
from infrastructor.ssh.gate import HandshakeGate
from infrastructor.ssh.keys import KeyStore, username_for

DROPS = 8  # connections in a row that end before the handshake; sshd does that when it is busy (MaxStartups)


class Dialer:
    """Makes connections. One per process, because the limits on handshakes are the process's."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys = KeyStore(settings)
        self._gate = HandshakeGate(settings.ssh_handshakes)

    async def dial(self, device: Device, jump: SSHCarrier | None) -> SSHCarrier:
        """Connect and log in, through `jump` when given. Raises `SSHConnectionError` kinds."""
        if not device.host_keys:
            raise HostKeyUntrusted(f"No host key of {device.hostname} is trusted yet, so nothing was sent to it.")
        keys = await self._keys.keys_for(device)
        for attempt in range(1, DROPS + 1):
            try:
                return await self._attempt(device, keys, jump)
            except Dropped as drop:
                if attempt == DROPS:
                    raise as_error(drop, device) from drop
                await asyncio.sleep(random.uniform(0.5, 1.0) * min(2.0, 0.05 * 2**attempt))  # noqa: S311
        raise AssertionError("unreachable")

    async def _attempt(self, device: Device, keys: list[asyncssh.SSHKey], jump: SSHCarrier | None) -> SSHCarrier:
        address = address_of(device)
        async with self._gate.address(address):
            # TCP outside the handshake slot: hosts that do not answer must not hold up those that do.
            sock = None if jump else await self.tcp(device)
            try:
                return await self._log_in(device, keys, jump, sock)
            except Dropped:
                self._gate.dropped(address)
                raise

    async def _log_in(
        self, device: Device, keys: list[asyncssh.SSHKey], jump: SSHCarrier | None, sock: socket.socket | None
    ) -> SSHCarrier:
        host, port = address_of(device)
        user = username_for(device, self._settings)
        owner, offer = Owner(), self._offer(device)
        try:
            async with self._gate.handshakes, asyncio.timeout(self._settings.ssh_login_timeout_s):
                connection = await asyncssh.connect(
                    host if jump else "",
                    port if jump else (),
                    sock=sock,
                    tunnel=jump.connection if jump else (),
                    client_factory=lambda: owner,
                    **offer,
                    **self._options(device, keys),
                )
        except TimeoutError as error:
            raise SSHTimeout(
                f"{where(device)} did not finish the SSH login in {self._settings.ssh_login_timeout_s:g} s.",
                hint="Something listens there, but it is very slow or no SSH server.",
            ) from error
        except (asyncssh.Error, OSError, ValueError) as error:
            raise explain(error, device, owner, offer, user) from error
        finally:
            # asyncssh owns the socket once its transport has it; before that it is ours to close.
            if sock is not None and not owner.connected:
                sock.close()
        if self._settings.ssh_fast_receive:
            receive.install(connection)
        lean = self._settings.ssh_slim_links and slim.install(connection)
        return SSHCarrier(connection, owner, is_root=user == "root", lean=lean)

    def _offer(self, device: Device) -> Offer:
        legacy = self._settings.ssh_legacy_algorithms
        stored = tuple(key.algorithm for key in device.host_keys)
        return Offer(**offered(legacy=legacy), server_host_key_algs=host_key_algorithms(stored, legacy=legacy))

    def _options(self, device: Device, keys: list[asyncssh.SSHKey]) -> dict[str, Any]:
        settings = self._settings
        trusted = [_public_key(key) for key in device.host_keys]
        agent: object = None
        if settings.ssh_use_agent:
            agent = str(settings.ssh_agent_path) if settings.ssh_agent_path else ()
        return {
            "config": None,  # ~/.ssh/config may run programs (Match exec, ProxyCommand)
            "username": username_for(device, settings),
            "client_keys": keys,
            "agent_path": agent,
            "agent_forwarding": False,
            "gss_host": None,
            "gss_kex": False,
            "gss_auth": False,
            "preferred_auth": ["publickey"],
            "x11_forwarding": False,
            "x509_trusted_certs": None,
            "x509_trusted_cert_paths": [],
            "known_hosts": (trusted, [], []),
            "connect_timeout": None,
            "login_timeout": settings.ssh_login_timeout_s + 5.0,  # ours ends first, with a better name
            "keepalive_interval": settings.ssh_keepalive_s,
            "keepalive_count_max": 2,  # asyncssh ends it when the third goes unanswered
            "encoding": None,
        }

    async def tcp(self, device: Device) -> socket.socket:
        """A connected socket, trying each address of the name within one deadline."""
        host, port = address_of(device)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.ssh_connect_timeout_s
        last: OSError | None = None
        async with self._gate.connects:
            try:
                async with asyncio.timeout_at(deadline):
                    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except TimeoutError as error:
                raise SSHTimeout(f"The name {host} was not resolved in time.") from error
            except OSError as error:
                raise SSHConnectionError(
                    f"The name {host} of {device.hostname} cannot be resolved: {error.strerror}."
                ) from error
            for position, (family, kind, protocol, _, sockaddr) in enumerate(found):
                share = (deadline - loop.time()) / (len(found) - position)
                sock = socket.socket(family, kind, protocol)
                sock.setblocking(False)
                try:
                    async with asyncio.timeout(share):
                        await loop.sock_connect(sock, sockaddr)
                except (OSError, TimeoutError) as error:
                    sock.close()
                    last = error
                except BaseException:
                    sock.close()
                    raise
                else:
                    return sock
        if last is None or isinstance(last, TimeoutError):
            raise SSHTimeout(
                f"{where(device)} did not answer in {self._settings.ssh_connect_timeout_s:g} s.",
                hint="It is down, or a firewall drops the packets. Check address, port and that it is up.",
            )
        raise SSHConnectionError(f"{where(device)} refused the connection: {last.strerror or last}.") from last

    async def scan(self, device: Device, jump: SSHCarrier | None) -> HostKey:
        """The key the device shows now, ed25519 if it has one. One connection and no login attempt:
        sshd from 9.8 on punishes a source that connects often without logging in.
        """
        settings = self._settings
        host, port = address_of(device)
        sock = None if jump else await self.tcp(device)
        owner, offer = Owner(), self._offer(device.model_copy(update={"host_keys": ()}))
        options = asyncssh.SSHClientConnectionOptions(
            **offer,
            config=None,
            client_keys=None,
            agent_path=None,
            gss_host=None,
            client_factory=lambda: owner,
        )
        try:
            async with asyncio.timeout(settings.ssh_login_timeout_s):
                key = await asyncssh.get_server_host_key(
                    host if jump else "",
                    port if jump else (),
                    sock=sock,
                    tunnel=jump.connection if jump else (),
                    server_host_key_algs=offer["server_host_key_algs"],
                    config=None,
                    options=options,
                )
        except TimeoutError as error:
            raise SSHTimeout(f"{where(device)} did not show a host key in time.") from error
        except (asyncssh.Error, OSError, ValueError) as error:
            raise as_error(explain(error, device, owner, offer, username_for(device, settings)), device) from error
        finally:
            if sock is not None and not owner.connected:
                sock.close()
        if key is None:
            raise SSHConnectionError(f"{where(device)} showed no host key.")
        return as_host_key(key)


def _public_key(key: HostKey) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_public_key(f"{key.algorithm} {key.public_key}")
    except asyncssh.KeyImportError as error:
        raise HostKeyUntrusted(f"A stored host key cannot be read: {error}.") from error
