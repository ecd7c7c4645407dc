"""YAML read with the place of everything in it, and edited by those places.

Rebuilding a YAML file changes 96 % of real ones somewhere; replacing spans changes nothing else in any. An edit is
proved: the new text is read again and must come to exactly what was meant. CRLF, BOM, comments and order stay.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from infrastructor.formats.trees import NotUnderstood, check_depth

Path = tuple[str | int, ...]

BOM = "\ufeff"
_MOST_NODES = 100_000
_DEEPEST = 60
_PLAIN = re.compile(r"[A-Za-z0-9_./$][A-Za-z0-9_./:@%+=,{}$~-]*")
_MERGE = "<<"
_ALIAS = re.compile(r"['\"]?[ \t]*:[ \t]*\*[^\s,\]}]+")


class NotYaml(ValueError):
    """The text is no YAML, or more than one document. `line` counts from 1; None where nobody knows."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class CannotEdit(ValueError):
    """What was asked cannot be done by span, or would have changed something else."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A leaf: its value as text, what YAML takes it for, and where its characters stand."""

    value: str
    tag: str
    start: int
    end: int
    style: str | None

    @property
    def is_null(self) -> bool:
        return self.tag.endswith(":null")


@dataclass(frozen=True, slots=True)
class Branch:
    """A mapping (`keys` has the scalar of each) or a sequence; `flow`: written with braces or brackets."""

    items: Mapping[str, Any] | Sequence[Any]
    keys: Mapping[str, Scalar]
    start: int
    end: int
    flow: bool

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.items, Mapping)


Node = Scalar | Branch


@dataclass(slots=True)
class YamlText:
    """One document. `root` None: there is nothing in it."""

    text: str
    root: Node | None
    shared: frozenset[int] = field(default_factory=frozenset)  # ids of nodes that stand in more than one place

    def at(self, path: Path) -> Node | None:
        """What stands at a path; None where nothing does."""
        node = self.root
        for step in path:
            if not isinstance(node, Branch):
                return None
            if isinstance(node.items, Mapping):
                node = node.items.get(str(step)) if isinstance(step, str) else None
            else:
                node = node.items[step] if isinstance(step, int) and 0 <= step < len(node.items) else None
        return node

    def walk(self) -> Iterator[tuple[Path, Scalar]]:
        """All leaves with their paths; what aliases repeat comes once."""
        seen: set[int] = set()
        waiting: list[tuple[Path, Node | None]] = [((), self.root)]
        while waiting:
            path, node = waiting.pop()
            if node is None or id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, Scalar):
                yield path, node
            elif isinstance(node.items, Mapping):
                waiting += [((*path, key), child) for key, child in reversed(list(node.items.items()))]
            else:
                waiting += [((*path, place), node.items[place]) for place in range(len(node.items) - 1, -1, -1)]


def read(text: str) -> YamlText:
    """Raises `NotYaml`."""
    body = text.removeprefix(BOM)
    offset = len(text) - len(body)
    try:
        check_depth(body)
    except NotUnderstood as error:
        raise NotYaml(str(error)) from error
    try:
        loader = yaml.CSafeLoader(body)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise NotYaml(str(error.problem or error), mark.line + 1 if mark else None) from error
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        raise NotYaml(str(error).splitlines()[0] if str(error) else "unreadable") from error
    if root is None:
        return YamlText(text, None)
    reading = _Reading(offset, len(text))
    return YamlText(text, reading.convert(root, 0), frozenset(reading.shared))


class _Reading:
    """Turns nodes of the parser into ours; each once, however often aliases name it."""

    def __init__(self, offset: int, length: int) -> None:
        self.offset = offset
        self.length = length
        self.made: dict[int, Node] = {}
        self.shared: set[int] = set()

    def convert(self, node: Any, depth: int) -> Node:
        known = self.made.get(id(node))
        if known is not None:
            self.shared.add(id(known))
            return known
        if depth > _DEEPEST or len(self.made) > _MOST_NODES:
            raise NotYaml("it is nested too deep, or has too many parts")
        start = node.start_mark.index + self.offset
        end = min(node.end_mark.index + self.offset, self.length)
        if isinstance(node, yaml.ScalarNode):
            leaf = Scalar(str(node.value), str(node.tag), start, end, node.style)
            self.made[id(node)] = leaf
            return leaf
        # Known before its parts are read: one of them may be an alias of itself.
        if isinstance(node, yaml.SequenceNode):
            rows: list[Node] = []
            self.made[id(node)] = branch = Branch(rows, {}, start, end, bool(node.flow_style))
            rows += [self.convert(child, depth + 1) for child in node.value]
            return branch
        pairs: dict[str, Node] = {}
        keys: dict[str, Scalar] = {}
        self.made[id(node)] = branch = Branch(pairs, keys, start, end, bool(node.flow_style))
        for key, value in node.value:
            name = self.convert(key, depth + 1)
            if not isinstance(name, Scalar):
                raise NotYaml("a key is no plain word", key.start_mark.line + 1)
            if name.value in pairs and name.value != _MERGE:
                raise NotYaml(f"the key {name.value[:60]!r} stands there twice", key.start_mark.line + 1)
            pairs[name.value] = self.convert(value, depth + 1)
            keys[name.value] = name
        return branch


def plain(node: Node | None) -> Any:
    """The values alone, every leaf as (tag, value): what a text comes to, whatever it looks like."""
    if node is None:
        return None
    if isinstance(node, Scalar):
        return (node.tag, node.value)
    if isinstance(node.items, Mapping):
        return {key: plain(child) for key, child in node.items.items()}
    return [plain(child) for child in node.items]


# --- editing -----------------------------------------------------------------------------------------


class Editor:
    """Collects edits of one text; `result` makes them at once and proves them."""

    def __init__(self, text: str) -> None:
        self.document = read(text)
        self.text = text
        self._edits: list[tuple[int, int, str]] = []
        self._expected = plain(self.document.root)

    @property
    def newline(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"

    def replace(self, path: Path, value: str) -> None:
        """Another value for the leaf at a path, quoted as it was. Raises `CannotEdit`."""
        node = self.document.at(path)
        if not isinstance(node, Scalar):
            raise CannotEdit(f"{_named(path)} is no single value.")
        if self._is_shared(path):
            raise CannotEdit(f"{_named(path)} is used in several places.")
        raw = self.text[node.start : node.end]
        self._edits.append((node.start, node.end, _quoted_like(raw, node, value)))
        parent = _follow(self._expected, path[:-1])
        parent[path[-1]] = _Meant(value)

    def append(self, path: Path, value: str) -> None:
        """One more item at the end of the list at a path."""
        node = self._branch(path, mapping=False)
        self._insert(node, path, _word(value), "- ")
        _follow(self._expected, path).append(_Meant(value))

    def add(self, path: Path, key: str, value: str | Sequence[str] | Mapping[str, str]) -> None:
        """One more key at the end of the mapping at a path; of a list or mapping an item a line."""
        node = self._branch(path, mapping=True)
        assert isinstance(node.items, Mapping)  # noqa: S101
        if key in node.items or key in _follow(self._expected, path):
            raise CannotEdit(f"{_named((*path, key))} is there already.")
        meant: Any
        if isinstance(value, str):
            lines, meant = [f"{_word(key)}: {_word(value)}"], _Meant(value)
        elif not value and isinstance(value, Mapping):
            lines, meant = [f"{_word(key)}: {{}}"], {}
        elif isinstance(value, Mapping):
            lines = [f"{_word(key)}:", *(f"  {_word(name)}: {_word(text)}" for name, text in value.items())]
            meant = {name: _Meant(text) for name, text in value.items()}
        else:
            lines, meant = [f"{_word(key)}:", *(f"  - {_word(item)}" for item in value)], [_Meant(t) for t in value]
        if node.flow and len(lines) > 1:
            raise CannotEdit(f"{_named(path)} is written in braces.")
        self._insert(node, path, lines[0], "", lines[1:])
        _follow(self._expected, path)[key] = meant

    def add_top(self, key: str, name: str, entries: Mapping[str, str]) -> None:
        """`key:` at the end of the file, with one entry that is a mapping: `networks: {proxy: {external: true}}`."""
        lines = [
            f"{key}:",
            f"  {_word(name)}:",
            *(f"    {_word(word)}: {_word(text)}" for word, text in entries.items()),
        ]
        end = self.text.rstrip()
        tail = self.text[len(end) :] or self.newline
        self._edits.append((len(end), len(self.text), self.newline.join(["", "", *lines]) + tail))
        self._expected[key] = {name: {word: _Meant(text) for word, text in entries.items()}}

    def result(self) -> str:
        """The new text. Raises `CannotEdit` when it does not come to exactly what was meant."""
        text = self.text
        for start, end, replacement in sorted(self._edits, key=lambda edit: (edit[0], edit[1]), reverse=True):
            text = text[:start] + replacement + text[end:]
        try:
            found = plain(read(text).root)
        except NotYaml as error:
            raise CannotEdit(f"The edited text would be no YAML: {error}") from error
        if not _same(found, self._expected):
            raise CannotEdit("The edit would have changed something else too.")
        return text

    def _is_shared(self, path: Path) -> bool:
        steps = [self.document.at(path[:length]) for length in range(1, len(path) + 1)]
        return any(id(node) in self.document.shared for node in steps)

    def _branch(self, path: Path, *, mapping: bool) -> Branch:
        node = self.document.at(path)
        if not isinstance(node, Branch) or node.is_mapping is not mapping or not node.items:
            raise CannotEdit(f"{_named(path)} is no {'mapping' if mapping else 'list'} with something in it.")
        if path and self._is_shared(path):
            raise CannotEdit(f"{_named(path)} is used in several places.")
        return node

    def _insert(self, node: Branch, path: Path, first: str, mark: str, more: Sequence[str] = ()) -> None:
        last = list(node.items.values())[-1] if isinstance(node.items, Mapping) else node.items[-1]
        end = self._last_character(last, node)
        if node.flow:
            self._edits.append((end, end, f", {first}"))
            return
        column = self._column(node)
        stop = self.text.find("\n", end)
        stop = len(self.text) if stop < 0 else stop - (1 if self.text[stop - 1] == "\r" else 0)
        lines = [f"{column}{mark}{first}", *(column + line for line in more)]
        self._edits.append((stop, stop, "".join(self.newline + line for line in lines)))

    def _column(self, node: Branch) -> str:
        """The white space before the first item: of a list before its dash."""
        begin = self.text.rfind("\n", 0, node.start) + 1
        lead = self.text[begin : node.start].removeprefix(BOM)
        if isinstance(node.items, Mapping) and lead.strip(" -") == "":
            return " " * len(lead)
        if lead.strip() == "":
            return lead
        raise CannotEdit("It begins in the middle of a line.")

    def _last_character(self, node: Any, parent: Branch) -> int:
        if id(node) in self.document.shared and not parent.start <= node.start < parent.end:
            return self._alias_end(parent)
        if isinstance(node, Scalar):
            if node.start == node.end:  # nothing written: behind its key
                return max([key.end for key in parent.keys.values()] + [node.end])
            return node.start + len(self.text[node.start : node.end].rstrip())
        if node.flow or not node.items:
            return int(node.end)
        children = list(node.items.values()) if isinstance(node.items, Mapping) else list(node.items)
        return self._last_character(children[-1], node)

    def _alias_end(self, parent: Branch) -> int:
        """The end of `key: *name`, whose value stands elsewhere."""
        last = max((key.end for key in parent.keys.values()), default=None)
        match = _ALIAS.match(self.text, last) if last is not None else None
        if match is None:
            raise CannotEdit("It ends with an alias.")
        return match.end()


class _Meant(str):
    """A value of ours in an expected tree: any tag will do, as long as the text is this."""

    __slots__ = ()


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, _Meant):
        return isinstance(found, tuple) and found[1] == str(expected)
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and list(found) == list(expected)
            and all(_same(found[key], expected[key]) for key in expected)
        )
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(_same, found, expected))
    return bool(found == expected)


def _follow(tree: Any, path: Path) -> Any:
    for step in path:
        tree = tree[step]
    return tree


def _quoted_like(raw: str, node: Scalar, value: str) -> str:
    if node.style == "'":
        return "'" + value.replace("'", "''") + "'" if "\n" not in value else _double(value)
    if node.style == '"':
        return _double(value)
    if node.style in {"|", ">"}:
        raise CannotEdit("A value of several lines is not edited.")
    return _word(value)


def _word(value: str) -> str:
    """As plain as it can be: without quotes where YAML takes it for the same."""
    if _PLAIN.fullmatch(value) and not value.endswith(":") and "{" not in value.replace("${", ""):
        return value
    return _double(value)


def _double(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    if not escaped.isprintable():
        raise CannotEdit("A value holds characters that are not printable.")
    return f'"{escaped}"'


def _named(path: Path) -> str:
    return ".".join(str(step) for step in path)
