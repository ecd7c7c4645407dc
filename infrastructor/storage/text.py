"""JSON that PostgreSQL takes: neither NUL nor lone surrogates, of which one would cost a whole batch.

And text that is cut to what may be kept.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from infrastructor.secret_words import mask_line

_DEPTH = 20
_MAX_INT = 2**10_000  # Python refuses to print integers of more than 4300 digits
_DIGITS = 255


def dump(value: Any) -> str:
    """Compact ASCII JSON of anything; what JSON or PostgreSQL has no word for becomes text."""
    try:
        text = json.dumps(value, separators=(",", ":"), default=str, allow_nan=False)
        if "\\u0000" not in text and "\\ud" not in text:
            return text
    except (ValueError, TypeError, RecursionError):
        pass  # NaN, a circle, an odd key, an enormous number: cleaned below
    return json.dumps(_clean(value, _DEPTH), separators=(",", ":"))


def cut(text: str, limit: int) -> str:
    """The text, or its beginning and how long it is."""
    return text if len(text) <= limit else f"{text[: limit - 20]}… ({len(text)} chars)"


def cut_masked(text: str, limit: int) -> str:
    """The same with secrets masked. First masked, then cut: half a secret is none that anything would know again."""
    looked_at = text[: 2 * limit]
    masked = mask_line(looked_at)
    if len(masked) <= limit and len(text) == len(looked_at):
        return masked
    return f"{masked[: limit - 20]}… ({len(text)} chars)"


def _clean(value: Any, depth: int) -> Any:
    if depth == 0:
        return "…"
    match value:
        case Mapping():
            return {_clean_text(str(key)): _clean(item, depth - 1) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_clean(item, depth - 1) for item in value]
    return _clean_scalar(value)


def _clean_scalar(value: Any) -> Any:
    match value:
        case None | bool():
            return value
        case int():
            return int(value) if abs(value) < _MAX_INT else hex(value)[:_DIGITS]
        case float() if math.isfinite(value):
            return value
    return _clean_text(str(value))


def _clean_text(text: str) -> str:
    paired = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return paired.replace("\0", "\N{REPLACEMENT CHARACTER}")
