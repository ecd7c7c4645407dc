"""Text of configuration with its secrets masked: line for line the same text, so that it can still be compared.

Each masked value carries a fingerprint, keyed with a key of this server: whoever compares two versions sees that a
secret changed, and whether two are the same, and learns nothing else of them.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

from infrastructor.formats import json_secrets, line_secrets, yaml_secrets
from infrastructor.formats.kinds import YAML_KINDS
from infrastructor.formats.spans import Span

_FINGERPRINT = 8  # hexadecimal digits
MARK = re.compile(rf"‹masked(?:-[0-9a-f]{{{_FINGERPRINT}}})?›")


@dataclass(frozen=True, slots=True)
class Masked:
    """A text without its secrets, and how many values were taken out."""

    text: str
    secrets: int


class Masker:
    """Masks with fingerprints; without a key every mask is the same."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key

    def mask(self, kind: str, text: str, path: str = "") -> Masked:
        """The masked text. `path` matters for files that hold nothing but secrets, such as secrets.yaml."""
        spans = _merged(_spans(kind, text, path), len(text))
        parts, position = [], 0
        for span in spans:
            parts.append(text[position : span.start])
            parts.append(self._replaced(text[span.start : span.end], quote=span.quote))
            position = span.end
        parts.append(text[position:])
        return Masked("".join(parts), len(spans))

    def mark(self, value: str) -> str:
        """What stands in place of a value."""
        if self._key is None:
            return "‹masked›"
        digest = hmac.new(self._key, value.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
        return f"‹masked-{digest[:_FINGERPRINT]}›"

    def _replaced(self, value: str, *, quote: bool) -> str:
        """Each line for itself: indentation and line ends stay."""
        masked = re.sub(r"\S[^\r\n]*\S|\S", lambda match: self.mark(match[0]), value)
        return f'"{masked}"' if quote else masked


def _spans(kind: str, text: str, path: str) -> Iterable[Span]:
    everything = _ONLY_SECRETS.search(path.lower()) is not None
    found: Iterable[Span] | None = None
    if kind in YAML_KINDS:
        found = yaml_secrets.find(text, compose=kind == "compose", everything=everything)
    elif kind == "json":
        found = json_secrets.find(text, everything=everything)
    return line_secrets.find(kind, text, everything=everything) if found is None else found


_ONLY_SECRETS = re.compile(r"(?:^|/)(?:secrets?\.(?:ya?ml|json|env|ini|toml)|\.?credentials|\.git-credentials)$")


def _merged(spans: Iterable[Span], length: int) -> list[Span]:
    """In order, without overlaps."""
    merged: list[Span] = []
    for span in sorted((s for s in spans if 0 <= s.start < s.end <= length), key=lambda s: (s.start, -s.end)):
        if merged and span.start < merged[-1].end:
            last = merged[-1]
            merged[-1] = Span(last.start, max(last.end, span.end), last.quote)
        else:
            merged.append(span)
    return merged
