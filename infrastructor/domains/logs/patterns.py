"""What a caller may search for: plain text, or a regular expression that no engine can be stuck on.

The expression runs on the device, in `grep -E` or in journalctl's PCRE2. What both read alike and neither takes
exponential time for is allowed: no backreference, no lookaround, no repeated group that itself repeats or chooses.
"""

import re
import warnings

from infrastructor.errors import ValidationFailed

_UNBOUNDED_MOST = 5
_REPEAT_MOST = 100
_CLASSES = {
    "d": "0-9",
    "w": "[:alnum:]_",
    "s": "[:space:]",
}
_TOKEN = re.compile(
    r"""
      \\(?P<escape>.)
    | (?P<bracket>\[\^?\]?(?:\[:[a-z]+:\]|[^\]])*\])
    | (?P<open>\((?P<special>\?)?)
    | (?P<close>\))
    | (?P<repeat>[*+?]|\{(?P<low>\d{1,6})(?P<range>,(?P<high>\d{0,6}))?\})
    | (?P<or>\|)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def as_extended(pattern: str) -> str:
    """The expression as POSIX extended and PCRE2 both read it. Raises `ValidationFailed`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise _refused(pattern, f"it is no regular expression ({error})") from error
    words: list[str] = []
    groups: list[bool] = []  # of each open group: whether it repeats or chooses inside
    closed_complex = False  # whether what stands before is a group of that kind
    unbounded = 0
    for token in _TOKEN.finditer(pattern):
        if token["special"]:
            raise _refused(pattern, "'(?' is not supported")
        if token["repeat"]:
            endless = token["repeat"] in "*+" or (token["range"] is not None and not token["high"])
            if max(int(token["low"] or 0), int(token["high"] or 0)) > _REPEAT_MOST:
                raise _refused(pattern, f"it repeats more than {_REPEAT_MOST} times")
            if closed_complex and token["repeat"] != "?":
                raise _refused(pattern, "a group that repeats or chooses is itself repeated")
            unbounded += endless
            if unbounded > _UNBOUNDED_MOST:
                raise _refused(pattern, f"it has more than {_UNBOUNDED_MOST} of '*' and '+'")
            groups = [True] * len(groups)
            words.append(token["repeat"])
            closed_complex = closed_complex or token["repeat"] != "?"  # x** and x+* repeat what repeats
            continue
        closed_complex = False
        if token["open"]:
            groups.append(False)
        elif token["close"]:
            closed_complex = groups.pop() if groups else True
        elif token["or"]:
            groups = [True] * len(groups)
        words.append(_translated(pattern, token))
    return "".join(words)


def _translated(pattern: str, token: re.Match[str]) -> str:
    if escape := token["escape"]:
        if escape.lower() in _CLASSES:
            return f"[{'^' if escape.isupper() else ''}{_CLASSES[escape.lower()]}]"
        if escape == "b" or not escape.isalnum():
            return token[0]
        raise _refused(pattern, f"'\\{escape}' is not supported")
    if bracket := token["bracket"]:
        inside = re.sub(r"\\([dws])", lambda match: _CLASSES[match[1]], bracket)
        if "\\" in inside:
            raise _refused(pattern, "a backslash in brackets is read differently by different programs")
        return inside
    return token[0]


def as_literal(text: str) -> str:
    """Plain text as an expression, for journalctl."""
    return re.escape(text)


def _refused(pattern: str, why: str) -> ValidationFailed:
    return ValidationFailed(
        f"The search {pattern[:80]!r} is refused: {why}.",
        hint="Write it more simply, or search for plain text with regex=false.",
    )
