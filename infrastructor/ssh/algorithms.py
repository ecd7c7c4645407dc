"""Which algorithms are offered. Explicit lists, because the library's defaults still offer SHA-1 and umac-64."""

from typing import TypedDict

KEX = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
)
# AES-GCM costs the client a fifth less than chacha20; dropbear of 2022 has no GCM, so never GCM alone.
ENCRYPTION = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes128-ctr",
)
MAC = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
HOST_KEY = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
SIGNATURE = (*HOST_KEY, "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com")

LEGACY_KEX = ("diffie-hellman-group14-sha256", "diffie-hellman-group16-sha512", "diffie-hellman-group14-sha1")
LEGACY_ENCRYPTION = ("aes256-cbc", "aes128-cbc")
LEGACY_MAC = ("hmac-sha1",)
LEGACY_HOST_KEY = ("ssh-rsa",)


class Algorithms(TypedDict):
    kex_algs: list[str]
    encryption_algs: list[str]
    mac_algs: list[str]
    signature_algs: list[str]
    compression_algs: None


def offered(*, legacy: bool) -> Algorithms:
    """The lists in asyncssh's keywords."""
    return Algorithms(
        kex_algs=[*KEX, *(LEGACY_KEX if legacy else ())],
        encryption_algs=[*ENCRYPTION, *(LEGACY_ENCRYPTION if legacy else ())],
        mac_algs=[*MAC, *(LEGACY_MAC if legacy else ())],
        signature_algs=[*SIGNATURE, *(LEGACY_HOST_KEY if legacy else ())],
        compression_algs=None,
    )


def host_key_algorithms(stored: tuple[str, ...], *, legacy: bool) -> list[str]:
    """Signature algorithms for the stored key types, or for all of them when none is stored yet."""
    if not stored:
        return [*HOST_KEY, *(LEGACY_HOST_KEY if legacy else ())]
    algorithms: list[str] = []
    for name in stored:
        if name == "ssh-rsa":
            algorithms += ["rsa-sha2-512", "rsa-sha2-256", *(LEGACY_HOST_KEY if legacy else ())]
        else:
            algorithms.append(name)
    return sorted(algorithms, key=lambda name: HOST_KEY.index(name) if name in HOST_KEY else len(HOST_KEY))
