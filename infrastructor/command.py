"""One templated line that may reach a device, and the pure parser of what comes back.

A command is a frozen dataclass. Its template is split into words *before* values are put in, so a value is
always exactly one shell word, whatever it holds:

    @dataclass(frozen=True)
    class ZpoolList(Command[list[Pool]]):
        template = "zpool list -H -p -o name,health,size -- {pool}"
        needs = "zpool"
        pool: PoolName | None = None

        def parse(self, output: CommandOutput) -> list[Pool]: ...

A slot is a whole word (`{pool}`) or part of one (`--since={since}`). None drops the word, a tuple gives one
word per item, a bool gives the word in `flags` or nothing.
"""

import dataclasses
import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import PurePath
from typing import ClassVar, Generic, Self, TypeVar

from infrastructor.errors import ValidationFailed
from infrastructor.ports.ssh import Capabilities, CommandLine, CommandOutput, Lane

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_SLOT = re.compile(r"\{([a-z_][a-z0-9_]*)\}")


@dataclass(frozen=True)
class Command(ABC, Generic[T_co]):
    """Base of all commands. Subclasses are frozen dataclasses whose fields are the template's slots."""

    template: ClassVar[str] = ""
    """Words and slots. With `script` set, these are the script's arguments `"$1"`, `"$2"`, …"""
    script: ClassVar[str | None] = None
    """Constant POSIX sh text for what one program cannot do. Never built from values."""
    flags: ClassVar[Mapping[str, str]] = {}
    """For bool fields: the word that True stands for."""
    shapes: ClassVar[Mapping[str, str]] = {}
    """For other fields: the regular expression that a rule of sudo holds their values to; else any word will do."""
    needs: ClassVar[str | None] = None
    """The program that must be on the device; its absence is `CommandNotAvailable`."""
    timeout: ClassVar[timedelta] = timedelta(seconds=30)
    max_output: ClassVar[int] = 1 << 20
    """Bytes kept of stdout and of stderr."""
    ok_statuses: ClassVar[frozenset[int]] = frozenset({0})
    lane: ClassVar[Lane] = Lane.FAST
    sudo: ClassVar[bool] = False
    may_sudo: ClassVar[bool] = False
    """Whether a variant may ask for root by `as_root`."""
    accepts_truncated: ClassVar[bool] = False

    _words: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls._words = tuple(shlex.split(cls.template))

    @abstractmethod
    def parse(self, output: CommandOutput) -> T_co:
        """Turn output into the answer. Pure and total: raises nothing but `ParseError`."""

    def variant(self, capabilities: Capabilities) -> "Command[T_co]":
        """The form of this command that suits the device; itself unless a subclass knows better."""
        del capabilities
        return self

    def as_root(self) -> Self:
        """The same command under sudo, where the login may not run it but may become root without a password."""
        copied = dataclasses.replace(self)
        object.__setattr__(copied, "sudo", True)
        return copied

    @classmethod
    def slots(cls) -> tuple[str, ...]:
        """Names of the values the template takes, in order."""
        return tuple(name for word in cls._words for name in _SLOT.findall(word))

    def render(self) -> CommandLine:
        """The line as sent. Raises `ValidationFailed` for a value no shell word can carry safely."""
        if self.script is None:
            text = " ".join(self._argv())
        else:
            words = self._script_words()
            text = f"set -- {' '.join(words)}\n{self.script}" if words else self.script
        return CommandLine(
            text=text,
            needs=self.needs,
            timeout_s=self.timeout.total_seconds(),
            max_output_bytes=self.max_output,
            lane=self.lane,
            sudo=self.sudo,
            plain=self.script is None,
        )

    def summary(self) -> str:
        """How an audit record names this run: the line itself, or the class of a script with its arguments."""
        line = self.render().text if self.script is None else " ".join([type(self).__name__, *self._script_words()])
        return f"sudo {line}" if self.sudo else line

    def _argv(self) -> list[str]:
        words: list[str] = []
        options_ended = False
        for word in self._words:
            options_ended = options_ended or word == "--"
            words += [shlex.quote(part) for part in self._fill(word, options_ended=options_ended)]
        return words

    def _script_words(self) -> list[str]:
        return [shlex.quote(part) for word in self._words for part in self._fill(word, options_ended=True)]

    def _fill(self, word: str, *, options_ended: bool) -> list[str]:
        if "{" not in word:
            return [word]
        whole = _SLOT.fullmatch(word)
        if whole is None:
            values = {name: self._value(name) for name in _SLOT.findall(word)}
            if any(value is None for value in values.values()):
                return []
            return [_SLOT.sub(lambda match: str(values[match[1]]), word)]
        name = whole[1]
        value = getattr(self, name)
        if isinstance(value, bool):
            return [self.flags[name]] if value else []
        if value is None:
            return []
        items = value if isinstance(value, tuple) else (value,)
        parts = [as_word(item, name) for item in items]
        for part in parts:
            if part.startswith("-") and not options_ended:
                raise ValidationFailed(
                    f"{name} must not start with '-': {part[:80]!r}.",
                    hint="A value that looks like an option could change what the command does.",
                )
        return parts

    def _value(self, name: str) -> str | None:
        value = getattr(self, name)
        return None if value is None else as_word(value, name)


def as_word(value: object, name: str) -> str:
    """A template value as text. Only plain scalars are taken; NUL and lone surrogates are refused."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool) or not isinstance(value, str | int | float | PurePath):
        raise TypeError(f"{name} cannot be a command word: {type(value).__name__}")
    text = str(value)
    if "\0" in text:
        raise ValidationFailed(f"{name} contains a NUL byte.", hint="Remove it; no command can carry one.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValidationFailed(f"{name} is not valid Unicode text.") from error
    return text
