"""Secrets among the words of a command: what follows `--password`, `-e FOO_TOKEN=x`, `mysql -psecret`.

`masking.mask_secrets` reads text and cannot know where a word ends, nor that only of mysql `-p` is a password. Here
the words are known, or are found as a shell would find them.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infrastructor.masking import KEY_CHARS, MASK, NAMES, mask_secrets

_DEPTH = 3  # of commands quoted within commands
_LEVELS = 12  # of lists and objects within each other; JSON that a door takes has no more

_ASSIGNED = re.compile(rf"(?is)(-{{0,2}}[\w.-]{{0,60}}{NAMES}[\w.-]{{0,60}}=)(.+)")
_OPTION = re.compile(rf"(?i)--?[\w-]{{0,60}}{NAMES}")
_OTHER_OPTION = re.compile(r"--[a-z][a-z-]*(=.*)?", re.DOTALL)
_SECRET_NAME = re.compile(rf"(?i)(?:.{{0,80}}[_.-])?{NAMES}s?")


@dataclass(frozen=True)
class _Rule:
    """What an option of some programs carries: attached (`-px`), in the next word, or behind a sign (`user:x`)."""

    program: re.Pattern[str]
    option: re.Pattern[str]
    separate: bool = True
    sign: str = ""

    def kept(self, before: str, word: str) -> int | None:
        attached = self.option.match(word)
        if attached is not None and attached.end() < len(word):
            start = attached.end()
        elif self.separate and word and self.option.fullmatch(before):
            start = 0
        else:
            return None
        if not self.sign:
            return start
        at = word.find(self.sign, start)
        return at + 1 if at >= 0 else None


_RULES = (
    _Rule(re.compile(r"(?:mysql|mariadb)[\w-]*"), re.compile(r"-p"), separate=False),  # `-p x` would name a database
    _Rule(re.compile(r"sshpass|mongo\w*|login"), re.compile(r"-p")),
    _Rule(re.compile(r"(?:redis|valkey)-cli"), re.compile(r"-a")),
    _Rule(re.compile(r"ldap\w+"), re.compile(r"-w")),
    _Rule(re.compile(r"mosquitto_\w+"), re.compile(r"-P")),
    _Rule(re.compile(r"curl"), re.compile(r"-u|-U|--user=?|--proxy-user=?"), sign=":"),
    _Rule(re.compile(r"smbclient|rpcclient|net"), re.compile(r"-U|--user=?"), sign="%"),
)
_ANY_PROGRAM = re.compile("|".join(rule.program.pattern for rule in _RULES))
# In every line that holds a secret by its words: looking for it costs a tenth of taking the line apart.
_WORTH = re.compile(rf"(?i){NAMES}|{_ANY_PROGRAM.pattern}")

# Any text is words and blanks by this. A quote that nobody closes goes to the end, as where a line was cut.
_WORD = re.compile(r"""(?:[^\s'"\\]+|'[^']*(?:'|\Z)|"(?:\\.|[^"\\])*(?:"|\Z)|\\.|["\\])+""", re.DOTALL)
_PART = re.compile(r"""([^\s'"\\]+)|'([^']*)(?:'|\Z)|"((?:\\.|[^"\\])*)(?:"|\Z)|\\(.)|(["\\])""", re.DOTALL)
_NEXT_COMMAND = frozenset({"|", "||", "&", "&&", ";"})


def mask_words(words: Sequence[str]) -> list[str]:
    """The words of one command, secrets replaced."""
    command, masked = _Command(), []
    for word in words:
        kept = command.kept(word)
        masked.append(mask_line(word) if kept is None else word[:kept] + MASK)
    return masked


def mask_line(text: str) -> str:
    """A command line, or any other text, secrets replaced and the rest as it was."""
    return mask_secrets(_mask_quoted(text, _DEPTH) if _WORTH.search(text) else text)


def is_harmless(text: str) -> bool:
    """Whether a short text, JSON too, has nothing that any mask would look at; quickly."""
    return len(text) < KEY_CHARS and not _WORTH.search(text) and mask_secrets(text) == text


def mask_value(value: Any, name: str = "", *, levels: int = _LEVELS) -> Any:
    """A JSON value with the secrets in all its texts replaced: lists of texts are taken as words of a command."""
    if isinstance(value, str):
        return MASK if value and _SECRET_NAME.fullmatch(name) else mask_line(value)
    if not isinstance(value, Mapping | list | tuple):
        return value
    if levels == 0:
        return MASK
    if isinstance(value, Mapping):
        return {key: mask_value(item, str(key), levels=levels - 1) for key, item in value.items()}
    if value and not _SECRET_NAME.fullmatch(name) and all(isinstance(item, str) for item in value):
        return mask_words(value)
    return [mask_value(item, name, levels=levels - 1) for item in value]


def _mask_quoted(text: str, depth: int) -> str:
    command = _Command()
    pieces, end = [], 0
    for match in _WORD.finditer(text):
        raw = match[0]
        word = _plain(raw).strip("[](),")  # a list that was printed has the same words
        kept = command.kept(word)
        if kept is not None:
            raw = word[:kept] + MASK
        elif depth and raw != word and any(sign.isspace() for sign in word):
            inner = _mask_quoted(word, depth - 1)
            raw = raw if inner == word else shlex.quote(inner)
        pieces += [text[end : match.start()], raw]
        end = match.end()
        if word in _NEXT_COMMAND or match[0].endswith(";"):
            command = _Command()
    return "".join([*pieces, text[end:]])


def _plain(raw: str) -> str:
    """A word without its quotes."""
    if not any(sign in raw for sign in "'\"\\"):
        return raw
    return "".join(
        re.sub(r"\\(.)", r"\1", part[3], flags=re.DOTALL) if part[3] else part[1] or part[2] or part[4] or part[5] or ""
        for part in _PART.finditer(raw)
    )


class _Command:
    """Reads the words of one command in their order."""

    def __init__(self) -> None:
        self._before = ""
        self._rules: list[_Rule] = []  # of the programs named so far

    def kept(self, word: str) -> int | None:
        """How much of the next word may be seen; None when it holds no secret that its place gives away."""
        before, self._before = self._before, word
        program = word.rpartition("/")[2]
        if _ANY_PROGRAM.fullmatch(program):
            self._rules += [rule for rule in _RULES if rule not in self._rules and rule.program.fullmatch(program)]
        assigned = _ASSIGNED.fullmatch(word)
        if assigned is not None:
            return len(assigned[1])
        if _OPTION.fullmatch(before) and word and not _OTHER_OPTION.fullmatch(word):
            return 0
        for rule in self._rules:
            kept = rule.kept(before, word)
            if kept is not None:
                return kept
        return None
