"""Secrets in free text: command lines, log lines, messages. A second net; the first is never asking for them.

Where the words of a command are known, `secret_words` sees more.
"""

import re
from collections.abc import Iterator

MASK = "‹masked›"

NAMES = r"(?:pass(?:word|wd|phrase)?|pwd|token|secret|api[-_]?key|apikey|access[-_]?key|private[-_]?key|credentials?)"
_PATTERNS = (
    # --password=x, --db-password x, -e MYSQL_PASSWORD=x, "token": "x", also with the quotes escaped (JSON in JSON)
    re.compile(rf"(?i)({NAMES}[\w.-]{{0,60}}(?:\\?[\"'])?\s*(?:=>|[=:])\s*(?:\\?[\"'])?)([^\s\"',;&\\]+)"),
    re.compile(rf"(?i)(?<![\w-])(--?[\w-]{{0,60}}{NAMES}\s+)([^\s-]\S*)"),
    # a command as a list: "--password", "x"
    re.compile(rf"(?i)([\"'](?:--?[\w-]{{0,60}}{NAMES})\\?[\"']\s*,\s*\\?[\"'])([^\"'\\]+)"),
    # mysql -phunter2, and the same as a list
    re.compile(r"(\b(?:mysql|mariadb)[\w-]{0,20}\b[^\n|;&]{0,120}?[\s\"'\[(,]-p)([^\s\"'),\]\\]+)"),
    # "password is hunter2", as default installations print it
    re.compile(r"(?i)\b((?:password|passphrase|passwd|secret)\s+(?:is|was|set to)\s*:?\s*[\"']?)([^\s\"']+)"),
    # scheme://user:secret@host, and scheme://token@host where the token is long
    re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{0,30}://[^\s:/@]*:)([^\s@/]+)(?=@)"),
    re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{0,30}://)([A-Za-z0-9_-]{20,})(?=@)"),
    re.compile(r"(?i)((?:proxy-)?authorization:\s*(?:bearer|basic|token|digest)\s+|bearer\s+)([A-Za-z0-9._~+/=-]{8,})"),
    re.compile(r"(?i)\b((?:set-)?cookie:\s*[^\s=;]{1,64}=)([^\s;]{8,})"),
    re.compile(
        r"()\b(inf_[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{20,}"
        r"|xox[abpors]-[A-Za-z0-9-]{10,}|sk-[A-Za-z0-9_-]{20,}|AIza[A-Za-z0-9_-]{35}|(?:AKIA|ASIA)[0-9A-Z]{16}"
        r"|tskey-[A-Za-z0-9-]{10,}|dckr_pat_[A-Za-z0-9_-]{20,}|hvs\.[A-Za-z0-9_-]{20,}|AGE-SECRET-KEY-1[A-Z0-9]{20,}"
        r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,})"
    ),
    re.compile(r"(-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----)([\s\S]*?)(?=-----END|\Z)"),
)
# A line of such a key that was logged alone: 64 of base64 and nothing else; hexadecimal is a hash.
KEY_CHARS = 64
_KEY_LINE = re.compile(r"(?m)^([ \t]*)(?![0-9a-f]+[ \t\r]*$)([A-Za-z0-9+/]{64})(?=[ \t\r]*$)")
_BY_NAME = 3  # of the patterns: only a name says that the value is a secret

# One of these is in every text that a pattern matches; looking for them costs a tenth of looking for those.
_SIGNS = (
    *("pass", "pwd", "token", "secret", "api", "key", "credential", "://", "authorization", "bearer", "cookie", "-p"),
    *("inf_", "gh", "glpat-", "xox", "sk-", "aiza", "akia", "asia", "dckr_pat_", "hvs.", "eyj"),
)


def mask_secrets(text: str) -> str:
    """The text with what looks like a secret replaced; names and addresses stay."""
    lowered = text.lower()
    if any(sign in lowered for sign in _SIGNS):
        for pattern in _PATTERNS:
            text = pattern.sub(_mask, text)
    return _KEY_LINE.sub(_mask, text) if len(text) >= KEY_CHARS else text


def _mask(match: re.Match[str]) -> str:
    return f"{match[1]}{MASK}"


def secret_spans(text: str) -> Iterator[tuple[int, int, bool]]:
    """Where those values stand: begin, end, and whether only the name before says so. In no order, and overlapping."""
    for number, pattern in enumerate(_PATTERNS):
        for match in pattern.finditer(text):
            yield *match.span(2), number < _BY_NAME
    for match in _KEY_LINE.finditer(text):
        yield *match.span(2), False
