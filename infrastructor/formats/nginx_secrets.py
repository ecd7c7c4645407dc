"""nginx configuration with its secrets masked: lines, order and names stay. Pure."""

import re
from collections.abc import Iterable, Iterator

from infrastructor.formats.nginx import Directive, Edit, apply, read, tokens, value_of
from infrastructor.masking import MASK, mask_secrets

_GIVING = frozenset(
    {"proxy_set_header", "grpc_set_header", "add_header", "uwsgi_param", "fastcgi_param", "scgi_param", "set"}
)
_SECRET_NAME = re.compile(
    r"auth(orization)?$|authorization|pass(word|wd|phrase)?\b|bindpass|secret|token|api[-_]?key|credential|cookie$",
    re.I,
)
# What a request brings, and the words before a credential, are none themselves.
_HARMLESS = re.compile(r"(?i)(?:\$\{?\w+\}?|bearer|basic|digest|token|off|on|\s|[:;=,/\"'-])*")


def masked(text: str) -> str:
    """The text as it may be shown. Values of headers, parameters and variables with a telling name go."""
    edits: list[Edit] = []
    for one in _every(read(text).directives):
        if one.name in _GIVING and len(one.args) > 1 and _SECRET_NAME.search(one.args[0]):
            edits += _hide(text, one, 2)
        elif one.name == "if" and len(one.args) > 2 and _SECRET_NAME.search(one.args[0]):  # noqa: PLR2004
            edits += _hide(text, one, 3)
    return mask_secrets(apply(text, edits))


def _every(directives: Iterable[Directive]) -> Iterator[Directive]:
    """Those in comments too."""
    for one in directives:
        yield one
        yield from _every(one.block or ())


def _hide(text: str, one: Directive, first: int) -> Iterator[Edit]:
    """The words from the given one on, where they say more than a variable."""
    start = one.start + (1 if one.off else 0)
    end = one.inside[0] - 1 if one.block is not None else one.end
    words = [token for token in tokens(text[start:end]) if token.kind == "word"]
    for token in words[first:]:
        word = text[start + token.start : start + token.end]
        if not _HARMLESS.fullmatch(value_of(word)):
            closing = ")" if word.endswith(")") else ""
            yield Edit(start + token.start, start + token.end, f'"{MASK}"{closing}')
