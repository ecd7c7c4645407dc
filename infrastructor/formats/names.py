"""Which names stand for secrets, and which values are none whatever they are called. Pure."""

import math
import re
from collections import Counter

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET = frozenset({
    "password", "passwords", "passwd", "pass", "passphrase", "passcode", "pwd", "pw", "psk", "secret",
    "secrets", "token", "tokens", "apikey", "credential", "credentials", "creds", "salt", "pepper", "cookie",
    "jwt", "otp", "totp", "pin", "authorization", "authkey", "requirepass", "masterauth", "seed", "mnemonic",
})  # fmt: skip
_WITHIN = (
    "password", "passwd", "passphrase", "secret", "token", "apikey", "credential", "privatekey", "presharedkey",
    "accesskey", "authkey", "cryptkey", "encryptionkey",
)  # fmt: skip
_KEYS = frozenset({"key", "keys"})
_NOT_KEYS = frozenset(
    {"public", "pub", "primary", "foreign", "sort", "partition", "map", "host", "cache", "ssh", "group"}
)
# What says something about a secret is none itself.
_ABOUT = frozenset({
    "file", "files", "path", "paths", "dir", "directory", "ttl", "timeout", "expiry", "expires", "expiration",
    "expire", "age", "length", "len", "size", "min", "max", "policy", "name", "names", "enabled", "enable",
    "disabled", "required", "type", "algorithm", "alg", "method", "mode", "url", "uri", "endpoint", "issuer",
    "lifetime", "interval", "count", "limit", "rotation", "format", "header", "field", "prefix", "env",
    "variable", "ref", "source", "storage", "samesite", "domain", "secure", "httponly", "attempts", "reset",
    "rounds", "cost", "strength", "validity", "duration", "days",
})  # fmt: skip
_USERS = ("basicauth.users", "digestauth.users")
_HARMLESS = re.compile(
    r"(?i:true|false|yes|no|on|off|null|none|nil|~|default|disabled|enabled)?"
    r"|\$\{[A-Za-z_]\w*(?::?\?[^}]*)?\}"  # a variable, or one that must be there
    r"|\$[A-Z_][A-Z0-9_]*|\$\([A-Z_][A-Z0-9_]*\)"
    r"|\$[a-z_]+(?=;?$)"  # of nginx: $http_authorization
    r"|\{\{[^{}]*\}\}|%\(\w+\)s|<[\w .-]{1,40}>"
    r"|/run/secrets/[\w./-]*|[*•x]{3,}"
)
_KEY_FILE = re.compile(r"[./~]?[\w./~-]*\.(?:key|pem|crt|cert|pub|p12|pfx|jks|gpg|asc|json|ya?ml|txt)")
_RANDOM = re.compile(r"[A-Za-z0-9+_=/-]{32,}")
_CLASSES = (re.compile(r"[a-z]"), re.compile(r"[A-Z]"), re.compile(r"[0-9]"))
_BITS = 3.9  # per character; words joined together have less


def is_secret(name: str) -> bool:
    """Whether a key, variable or header of this name holds a secret: `DB_PASSWORD`, `apiKey`, `X-Auth-Token`."""
    words = [word.lower() for word in _WORD.findall(name)]
    if name.lower().endswith(_USERS) or "webhook" in words:  # the address of a webhook is its password
        return True
    if not words or words[-1] in _ABOUT:
        return False
    last, joined = words[-1], "".join(words)
    return (
        not _SECRET.isdisjoint(words)
        or any(part in joined for part in _WITHIN)
        or (last in _KEYS and len(words) > 1 and _NOT_KEYS.isdisjoint(words))
        or (last.endswith(("pass", "pwd")) and last not in {"bypass", "compass"})
    )


def is_about(name: str) -> bool:
    """Whether the name ends in what only says something about a secret: `password_file`, `token_ttl`."""
    words = _WORD.findall(name)
    return bool(words) and words[-1].lower() in _ABOUT


def is_harmless(value: str) -> bool:
    """Whether a value is no secret under any name: empty, true, a variable, a file that holds the secret."""
    value = value.strip().strip("\"'")
    return _HARMLESS.fullmatch(value) is not None or _KEY_FILE.fullmatch(value) is not None


def looks_random(value: str) -> bool:
    """Whether a word is what programs generate: long, of all kinds of characters, with much entropy."""
    if _RANDOM.fullmatch(value) is None or value.startswith("AAAA") or "/" in value[:1] or value.count("/") > 3:  # noqa: PLR2004
        return False
    if any(kind.search(value) is None for kind in _CLASSES):
        return False
    counts = Counter(value)
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return bits >= _BITS
