"""Secrets in free text: command lines, log lines, messages. A second net; the first is never asking for them."""

import re

MASK = "‹masked›"

_NAMES = r"(?:pass(?:word|wd|phrase)?|pwd|token|secret|api[-_]?key|apikey|access[-_]?key|private[-_]?key|credentials?)"
_PATTERNS = (
    # --password=x, --db-password x, -e MYSQL_PASSWORD=x, "token": "x"
    re.compile(rf"(?i)([\w.-]*{_NAMES}[\w.-]*\"?\s*[=:]\s*\"?)([^\s\",;&]+)"),
    re.compile(rf"(?i)(--?[\w-]*{_NAMES}\s+)([^\s-]\S*)"),
    # scheme://user:secret@host
    re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@]*:)([^\s@/]+)(?=@)"),
    re.compile(r"(?i)(authorization:\s*(?:bearer|basic)\s+|bearer\s+)([A-Za-z0-9._~+/=-]{8,})"),
    re.compile(r"()\b(inf_[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16})\b"),
    re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)([\s\S]*?)(?=-----END|$)"),
)


def mask_secrets(text: str) -> str:
    """The text with what looks like a secret replaced; names and addresses stay."""
    for pattern in _PATTERNS:
        text = pattern.sub(lambda match: f"{match[1]}{MASK}", text)
    return text
