"""What is known of a command's text. A fleet is asked the same few questions again and again."""

from collections.abc import Callable
from functools import lru_cache

from infrastructor.errors import ValidationFailed
from infrastructor.ssh.wire import body

SHORT = 4096  # longer ones are not remembered
REMEMBERED = 2048
QUICK_S = 0.02  # a run this short, without a word on stderr, earns a text its place in groups


class Text:
    """How a text is framed, and how its runs on whatever device have been."""

    __slots__ = ("body", "quiet", "spoke")

    def __init__(self, text: str) -> None:
        self.body = checked(text)
        self.spoke = False  # has written on stderr
        self.quiet = False  # quick, and silent on stderr: may share an end marker there

    def ran(self, took_s: float, *, spoke: bool) -> None:
        """Learn from a run whose stderr was its own."""
        if spoke:
            self.spoke = True
            self.quiet = False
        elif took_s <= QUICK_S and not self.spoke:
            self.quiet = True


def texts() -> Callable[[str], Text]:
    """The memory of one engine: a text's record, the same one each time while it is among the recent."""
    recent = lru_cache(maxsize=REMEMBERED)(Text)

    def find(text: str) -> Text:
        return recent(text) if len(text) < SHORT else Text(text)

    return find


def checked(text: str) -> str:
    """The text as `wire.body` frames it. Raises `ValidationFailed` for what no shell text can carry."""
    if "\0" in text:
        raise ValidationFailed("The command contains a NUL byte.", hint="Remove it; no command can carry one.")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValidationFailed("The command is not valid Unicode text.") from error
    return body(text)
