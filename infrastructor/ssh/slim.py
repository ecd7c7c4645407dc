"""Less memory for a connection that is logged in: what only its handshake needed goes, equal values are shared.

Of the 34 KB that an idle link takes, asyncssh 2.24 holds more than half for a handshake that is over: its options with
every argument they were made from, the lists of algorithms, both sides' offers. This drops or shares each of them.
What a later key exchange reads stays: the algorithms we offer, both versions, the trusted keys, the session id; what
it writes anew is dropped again after it. It stands on private attributes, so it is used only with releases that the
tests have seen, and an attribute that is not there is left alone.
"""

from collections import deque
from functools import lru_cache
from typing import Any

import asyncssh

KNOWN = ("2.24.",)  # releases of asyncssh whose private attributes these are

# Of the options a session that is opened later reads these.
SESSION = (
    *("command", "subsystem", "env", "send_env", "request_pty", "term_type", "term_size", "term_modes"),
    *("x11_forwarding", "x11_display", "x11_auth_path", "x11_single_connection"),
    *("encoding", "errors", "window", "max_pktsize"),
)
EMPTY: frozenset[object] = frozenset()  # one for all: an empty set takes 216 bytes
# Read until the login is done, and what they hold then: nothing.
LOGIN: dict[str, object] = {
    "_agent": None,
    "_known_hosts": ((), (), ()),  # trusts nobody; the keys found in it are in _trusted_host_keys
    "_protocol_factory": None,
    "_server_sig_algs": EMPTY,
    "_waiter": None,
}
# Nobody adds to these once the device is known.
SETS = ("_trusted_ca_keys", "_revoked_host_keys", "_x509_revoked_certs")
# Lists that are made per connection and only read, the same for all with the same settings.
LISTS = ("_kex_algs", "_enc_algs", "_mac_algs", "_cmp_algs", "_sig_algs", "_server_host_key_algs", "_preferred_auth")
VALUES = ("_version", "_client_version", "_server_version", "_username")
CHOSEN = ("_enc_alg_cs", "_enc_alg_sc", "_mac_alg_cs", "_mac_alg_sc", "_cmp_alg_cs", "_cmp_alg_sc")


def install(connection: Any) -> bool:
    """Slim this connection, which must be logged in. False when the release is not known."""
    if not asyncssh.__version__.startswith(KNOWN):
        return False
    _drop_login(connection)
    _drop_key_exchange(connection)
    _replace(connection, {"send_newkeys": _Renewal(connection)})
    return True


def channel(chan: Any) -> None:
    """Slim an open channel of such a connection."""
    if asyncssh.__version__.startswith(KNOWN):
        _drop_waiters(chan)
        # Its table has grown to twice what the entries need, and dict() would copy it as it is.
        chan.__dict__ = {name: value for name, value in vars(chan).items()}  # noqa: C416


class _Renewal:
    """Stands in for `SSHConnection.send_newkeys`, which ends every key exchange on our side: one an hour at least."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __call__(self, k: bytes, h: bytes) -> None:
        connection = self._connection
        type(connection).send_newkeys(connection, k, h)
        _drop_key_exchange(connection)


def _drop_login(connection: Any) -> None:
    _replace(connection, LOGIN)
    _replace(connection, {name: EMPTY for name in SETS if getattr(connection, name, None) == set()})
    _replace(connection, {name: _same_list(connection, name) for name in LISTS})
    _replace(connection, {name: _same(getattr(connection, name, None)) for name in VALUES})
    options = getattr(connection, "_options", None)
    if all(hasattr(options, name) for name in SESSION):
        _replace(connection, {"_options": _session_options(options)})
    _drop_waiters(connection)


def _drop_key_exchange(connection: Any) -> None:
    """What each key exchange leaves behind. Sending our offer sets `_kex_complete` to False, sending our keys to True;
    between them the exchange's hash is taken over both offers.
    """
    if getattr(connection, "_kex", True) is not None or not getattr(connection, "_kex_complete", False):
        return
    # A client sends its extensions once, before the login; later exchanges only add to them.
    _replace(connection, {"_client_kexinit": b"", "_server_kexinit": b"", "_extensions_to_send": {}})
    _replace(connection, {name: _same(getattr(connection, name, None)) for name in CHOSEN})
    extra = getattr(connection, "_extra", {})
    extra.update({name: _same(value) for name, value in extra.items() if isinstance(value, str)})
    shown = getattr(connection, "_server_host_key", None)
    for key in getattr(connection, "_trusted_host_keys", None) or ():
        if key == shown:  # the same key, parsed once more; each holds one of OpenSSL's
            connection._server_host_key = key


def _drop_waiters(owner: Any) -> None:
    """An empty deque takes 760 bytes; an event does as well with a list."""
    event = getattr(owner, "_close_event", None)
    waiters = getattr(event, "_waiters", None)
    if type(waiters) is deque and not waiters:
        event._waiters = []  # type: ignore[union-attr]


def _replace(connection: Any, values: dict[str, object]) -> None:
    for name, value in values.items():
        if hasattr(connection, name):
            setattr(connection, name, value)


@lru_cache(1024)
def _same(value: object) -> object:
    """The first of all equal values."""
    return value


@lru_cache(256)
def _list_of(values: tuple[bytes, ...]) -> list[bytes]:
    return list(values)


def _same_list(connection: Any, name: str) -> object:
    values = getattr(connection, name, None)
    return _list_of(tuple(values)) if type(values) is list else values


def _session_options(options: Any) -> object:
    """Options that say the same about sessions, shared by all connections."""
    kind: Any = type(options)
    values = tuple(getattr(options, name) for name in SESSION)
    try:
        return _options_of(kind, values)
    except TypeError:  # not hashable: made for this connection alone
        return options


@lru_cache(16)
def _options_of(kind: Any, values: tuple[object, ...]) -> object:
    options = object.__new__(kind)  # without __init__, which wants them all
    for name, value in zip(SESSION, values, strict=True):
        setattr(options, name, value)
    return options
