"""Remote text is hostile: what leaves us carries no control, bidi or tag characters.

Newlines and tabs stay. Terminals, log files and language models all read what we answer.
"""

import re
from typing import Any

# C0 without \t \n \r, DEL, C1, zero-width and bidi controls, line/paragraph separators, BOM, tag block, surrogates.
_FORBIDDEN = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff"
)
_STRIP = re.compile(f"[{_FORBIDDEN}]")
# The same in JSON bytes: escaped controls, or the UTF-8 lead bytes of everything above. May match too much, never
# too little; a match only costs a closer look.
_SUSPECT = re.compile(
    rb"\\u00|\\b|\\f|\\ud|\x7f|\xc2[\x80-\x9f\xad]|\xd8\x9c|\xe1\xa0\x8e|\xe2[\x80\x81]|\xef\xbb|\xef\xbf|\xf3\xa0"
)


def clean(text: str, limit: int | None = None) -> str:
    """The text without what could act on a reader. With `limit`, cut there and say so."""
    stripped = _STRIP.sub("", text)
    if limit is not None and len(stripped) > limit:
        return f"{stripped[:limit]}… ({len(stripped) - limit} more characters)"
    return stripped


def suspicious(body: bytes) -> bool:
    """Whether JSON bytes may hold a character that `clean` would take out."""
    return _SUSPECT.search(body) is not None


def clean_json(value: Any) -> Any:
    """The same JSON value with every string (and key) cleaned."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [clean_json(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): clean_json(item) for key, item in value.items()}
    return value
