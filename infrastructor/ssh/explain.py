"""asyncssh's errors in our words."""

import asyncssh

from infrastructor.errors import (
    HostKeyMismatch,
    InfrastructorError,
    SSHAuthenticationError,
    SSHConnectionError,
)
from infrastructor.ports.devices import Device, HostKey
from infrastructor.ssh.algorithms import Algorithms
from infrastructor.ssh.connection import Owner


class Offer(Algorithms):
    """Everything we proposed."""

    server_host_key_algs: list[str]


class Dropped(Exception):
    """Closed before the handshake was done: what a busy sshd does, so it is worth another try."""


def explain(error: Exception, device: Device, owner: Owner, offer: Offer, user: str) -> Exception:
    """What went wrong between TCP and login: an error of ours, or `Dropped`."""
    place = where(device)
    explained: Exception
    match error:
        case asyncssh.HostKeyNotVerifiable():
            explained = _mismatch(device, owner.shown)
        case asyncssh.KeyExchangeFailed() if "host key" in error.reason.lower():
            explained = _mismatch(device, None)
        case asyncssh.KeyExchangeFailed():
            explained = _no_algorithm(place, error.reason)
        case asyncssh.ChannelOpenError():
            explained = SSHConnectionError(
                f"The jump host {device.jump} cannot reach {place}: {error.reason}",
                hint="It must allow TCP forwarding, and the device must be up.",
            )
        case asyncssh.PermissionDenied():
            explained = SSHAuthenticationError(f"{place} does not accept any of our keys for user {user}.")
        case asyncssh.Error() if "authentication failures" in error.reason.lower():
            explained = SSHAuthenticationError(f"{place} does not accept any of our keys for user {user}.")
        case asyncssh.ConnectionLost() | ConnectionError():
            # A server without an algorithm in common hangs up, often before asyncssh has noticed the reason.
            missing = _nothing_in_common(owner, offer)
            if missing == "host key":
                explained = _mismatch(device, None)
            elif missing:
                explained = _no_algorithm(place, f"no matching {missing}")
            else:
                explained = Dropped(str(error) or type(error).__name__)
        case _:
            explained = SSHConnectionError(f"The SSH handshake with {place} failed: {error}.")
    return explained


def _no_algorithm(place: str, reason: str) -> SSHConnectionError:
    return SSHConnectionError(
        f"{place} and we have no algorithm in common: {reason}.",
        hint="For an old device set INFRASTRUCTOR_SSH_LEGACY_ALGORITHMS=true.",
    )


def _nothing_in_common(owner: Owner, offer: Offer) -> str:
    """The first kind of algorithm in which the server's offer and ours do not meet; empty when they do."""
    offered = owner.server_algorithms()
    if len(offered) < 6:  # noqa: PLR2004
        return ""
    kex, host_key, cipher, _, mac, _ = offered
    if not kex & set(offer["kex_algs"]):
        return "key exchange"
    if not host_key & set(offer["server_host_key_algs"]):
        return "host key"
    common = cipher & set(offer["encryption_algs"])
    if not common:
        return "cipher"
    authenticated = any("gcm" in name or "poly1305" in name for name in common)
    return "" if authenticated or mac & set(offer["mac_algs"]) else "MAC"


def as_error(error: Exception, device: Device) -> InfrastructorError:
    """A drop that is not tried again is an error."""
    if isinstance(error, InfrastructorError):
        return error
    return SSHConnectionError(
        f"{where(device)} closed the connection before the SSH handshake: {error}.",
        hint="It may be no SSH server, refuse this address, or be too busy (MaxStartups).",
    )


def _mismatch(device: Device, shown: asyncssh.SSHKey | None) -> HostKeyMismatch:
    trusted = ", ".join(key.fingerprint for key in device.host_keys)
    if shown is None:
        return HostKeyMismatch(
            f"{device.hostname} no longer has a host key of a trusted type; trusted: {trusted}.", trusted=trusted
        )
    seen = as_host_key(shown)
    return HostKeyMismatch(
        f"{device.hostname} shows the host key {seen.fingerprint} ({seen.algorithm}); trusted: {trusted}.",
        shown=seen.fingerprint,
        trusted=trusted,
    )


def address_of(device: Device) -> tuple[str, int]:
    """Where it is dialled."""
    return device.address or device.hostname, device.ssh_port


def where(device: Device) -> str:
    host, port = address_of(device)
    return f"{device.hostname} ({host}:{port})"


def as_host_key(key: asyncssh.SSHKey) -> HostKey:
    """As OpenSSH prints it."""
    algorithm, public_key, *_ = key.export_public_key().decode().split()
    return HostKey(algorithm=algorithm, public_key=public_key, fingerprint=key.get_fingerprint())
