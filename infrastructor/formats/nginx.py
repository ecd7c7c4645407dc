"""nginx configuration as a tree over its own text: every directive knows the span it was written in.

Nothing is ever rebuilt: an edit replaces spans, and what is outside of them stays as it is, to the byte. `read` is
total: what nginx would not take becomes a fault with its line, and the rest is read all the same. Text is decoded with
`surrogateescape` by `decode`, so that any bytes come back from `encode`.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["space", "comment", "open", "close", "end", "word", "raw"]

# As in ngx_conf_read_token: a quote counts at the start of a word only, a hash as well; `${` belongs to the word.
_TOKEN = re.compile(
    r"""
    (?P<space>[\s\ufeff]+)
  | (?P<comment>\#[^\n]*)
  | (?P<open>\{) | (?P<close>\}) | (?P<end>;)
  | (?P<word>"(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | (?:[^\s;{}\\"'] | \\. | \$\{)(?:[^\s;{\\] | \\. | (?<=\$)\{)*)
  | (?P<rest>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {'"': '"', "'": "'", "\\": "\\", "t": "\t", "r": "\r", "n": "\n"}
_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
# One word that is also an English one: `# listen to this;` would be a directive otherwise.
_SINGLE_WORDS = frozenset({"include", "listen", "set", "allow", "deny", "return", "rewrite", "root", "resolver"})
_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text; all of them together are the text."""

    kind: Kind
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Something nginx would refuse, by the line it is in (from 1)."""

    line: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """`name args;` or `name args { block }`. The span runs from the name to the semicolon or closing brace.

    `off` is one that stands in a comment: `#include /config/nginx/ldap-server.conf;`; its span starts at the hash.
    `inside` is the span between the braces.
    """

    name: str
    args: tuple[str, ...]
    start: int
    end: int
    line: int
    block: "tuple[Directive, ...] | None" = None
    inside: tuple[int, int] = (0, 0)
    off: bool = False

    def all(self, *names: str, off: bool = False) -> "Iterator[Directive]":
        """Those directly in its block with one of these names: that count, or with `off` those that are comments."""
        for directive in self.block or ():
            if directive.name in names and directive.off == off:
                yield directive

    def walk(self) -> "Iterator[Directive]":
        """Everything in its block at any depth that counts."""
        yield from walk(self.block or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One file."""

    text: str
    directives: tuple[Directive, ...]
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Edit:
    """Put `text` in the place of a span."""

    start: int
    end: int
    text: str


def decode(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def walk(directives: Iterable[Directive]) -> Iterator[Directive]:
    """All directives that count, outer before inner."""
    for directive in directives:
        if not directive.off:
            yield directive
            if directive.block is not None:
                yield from walk(directive.block)


def tokens(text: str) -> Iterator[Token]:
    """The whole text in pieces. Lua blocks are one raw piece from brace to brace."""
    position, lua = 0, False
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:  # cannot be: the last alternative takes anything
            return
        kind, end = match.lastgroup, match.end()
        if kind == "open" and lua:
            end = _end_of_lua(text, position)
            yield Token("raw", position, end)
        elif kind == "rest":  # a quote that nobody closes, a backslash at the end
            end = len(text)
            yield Token("raw", position, end)
        else:
            yield Token(kind, position, end)  # type: ignore[arg-type]
        if kind not in {"space", "comment"}:
            lua = kind == "word" and match[0].endswith("_by_lua_block")
        position = end


def value_of(word: str) -> str:
    """What nginx makes of a word: without its quotes, with its escapes resolved."""
    if word[:1] in {'"', "'"} and len(word) > 1 and word[-1] == word[0]:
        word = word[1:-1]
    if "\\" not in word:
        return word
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[0]), word)


def read(text: str) -> Document:
    """The tree of a text, with what is wrong in it."""
    reader = _Reader(text)
    directives = reader.block(0)
    return Document(text=text, directives=directives, faults=tuple(reader.faults))


def apply(text: str, edits: Iterable[Edit]) -> str:
    """The text with its spans replaced. Raises `ValueError` for spans that overlap."""
    parts: list[str] = []
    position = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if not position <= edit.start <= edit.end <= len(text):
            raise ValueError(f"An edit at {edit.start} to {edit.end} overlaps the one before it.")
        parts += [text[position : edit.start], edit.text]
        position = edit.end
    return "".join([*parts, text[position:]])


Shape = tuple[str, tuple[str, ...], "tuple[Shape, ...] | None"]


def shape(directives: Iterable[Directive]) -> tuple[Shape, ...]:
    """What a tree says without where it says it; two texts that nginx reads alike have one shape."""
    return tuple(
        (directive.name, directive.args, None if directive.block is None else shape(directive.block))
        for directive in directives
        if not directive.off
    )


def newline_of(text: str) -> str:
    """The line end of a text, by its first line."""
    first = text.find("\n")
    return "\r\n" if first > 0 and text[first - 1] == "\r" else "\n"


def indent_at(text: str, position: int) -> str:
    """The white space that the line of a position starts with."""
    start = text.rfind("\n", 0, position) + 1
    return text[start : start + len(text[start:]) - len(text[start:].lstrip(" \t"))]


class _Reader:
    """Tokens in, directives out."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: Sequence[Token] = tuple(tokens(text))
        self.faults: list[Fault] = []
        self._at = 0
        self._closed = False  # how the last block ended
        self._ends = [match.start() for match in re.finditer("\n", text)]

    def block(self, depth: int) -> tuple[Directive, ...]:
        """Directives up to the closing brace that belongs to this block, or to the end of the text."""
        found: list[Directive] = []
        words: list[Token] = []
        while self._at < len(self.tokens):
            token = self.tokens[self._at]
            self._at += 1
            if token.kind == "word":
                words.append(token)
                continue
            if token.kind == "comment" and not words and (off := self._commented(token)) is not None:
                found.append(off)
            if token.kind in {"space", "comment"}:
                continue
            if token.kind == "close":
                self._unended(words)
                if depth:
                    self._closed = True
                    return tuple(found)
                self._fault(token.start, "Unexpected '}'.")
            elif token.kind == "end":
                self._simple(words, token, found)
            elif token.kind == "open":
                self._nested(words, token, depth, found)
            else:
                self._raw(words, token, found)
            words = []
        self._unended(words)
        return tuple(found)

    def _nested(self, words: list[Token], opened: Token, depth: int, found: list[Directive]) -> None:
        if depth >= _DEEPEST:
            self._fault(opened.start, "Blocks are nested too deep.")
            self._at = len(self.tokens)
            return
        self._closed = False
        inner = self.block(depth + 1)
        closed, self._closed = self._closed, False
        end = self.tokens[self._at - 1].end if closed else len(self.text)
        if not closed:
            self._fault(opened.start, "This block is not closed by '}'.")
        if words:
            found.append(self._directive(words, end, inner, (opened.end, end - 1 if closed else end)))
        else:
            self._fault(opened.start, "Unexpected '{'.")

    def _raw(self, words: list[Token], token: Token, found: list[Directive]) -> None:
        """A Lua block, or a quote without an end."""
        if words and self.text[token.start] == "{":
            found.append(self._directive(words, token.end, (), (token.start + 1, token.end - 1)))
        else:
            self._fault(token.start, f"{self.text[token.start : token.start + 20]!r} has no end.")

    def _unended(self, words: list[Token]) -> None:
        if words:
            self._fault(words[0].start, f"{self._word(words[0])!r} is not ended by ';'.")

    def _simple(self, words: list[Token], end: Token, found: list[Directive]) -> None:
        if words:
            found.append(self._directive(words, end.end, None, (0, 0)))
        else:
            self._fault(end.start, "Unexpected ';'.")

    def _directive(
        self, words: list[Token], end: int, block: tuple[Directive, ...] | None, inside: tuple[int, int]
    ) -> Directive:
        name, *args = (self._word(word) for word in words)
        start = words[0].start
        return Directive(
            name=name,
            args=tuple(args),
            start=start,
            end=end,
            line=self._line(start),
            block=block,
            inside=inside,
        )

    def _commented(self, token: Token) -> Directive | None:
        """The one directive that a comment is, when it is one and nothing else."""
        text = self.text[token.start + 1 : token.end]
        body = text.strip()
        if not body.endswith(";"):
            return None
        pieces = [piece for piece in tokens(body) if piece.kind != "space"]
        kinds = [piece.kind for piece in pieces]
        if len(kinds) < 3 or kinds[-1] != "end" or set(kinds[:-1]) != {"word"}:  # noqa: PLR2004 - name, value, end
            return None
        name, *args = (value_of(body[piece.start : piece.end]) for piece in pieces[:-1])
        if not _NAME.fullmatch(name) or not ("_" in name or name in _SINGLE_WORDS):
            return None
        end = token.start + 1 + len(text.rstrip())
        return Directive(
            name=name,
            args=tuple(args),
            start=token.start,
            end=end,
            line=self._line(token.start),
            off=True,
        )

    def _word(self, token: Token) -> str:
        return value_of(self.text[token.start : token.end])

    def _fault(self, position: int, message: str) -> None:
        self.faults.append(Fault(self._line(position), message))

    def _line(self, position: int) -> int:
        return bisect_left(self._ends, position) + 1


_LUA = re.compile(r"--\[(=*)\[|--[^\n]*|\[(=*)\[|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|[{}]", re.DOTALL)


def _end_of_lua(text: str, start: int) -> int:
    """Behind the brace that closes the Lua block opened at `start`; the end of the text when none does."""
    depth, position = 0, start
    while (match := _LUA.search(text, position)) is not None:
        position = match.end()
        if match[0] in "{}":
            depth += 1 if match[0] == "{" else -1
            if depth == 0:
                return position
        elif match[0].endswith("["):  # a long string or comment
            close = f"]{match[1] or match[2] or ''}]"
            found = text.find(close, position)
            position = len(text) if found < 0 else found + len(close)
    return len(text)
