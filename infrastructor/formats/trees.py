"""Configuration as plain trees: dicts, lists and scalars, whatever it was written in.

`parse` is total over text: it returns a tree or raises `NotUnderstood`. What only people see (comments, order of
keys, spacing, quotes) is not in a tree, so two texts with equal trees differ cosmetically.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from infrastructor.formats.directives import apache_tree, nginx_tree

Tree = Any  # None | bool | int | float | str | list[Tree] | dict[str, Tree]

_MOST_NODES = 200_000
_DEEPEST = 100
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$", "`": "`"}
_ENV_LINE = re.compile(r"(?:export\s+)?([^\s=#]+?)\s*=\s*(.*)", re.DOTALL)
_BARE_ENV = re.compile(r"(?:export\s+)?([A-Za-z_][\w.-]*)")
_INI_SECTION = re.compile(r"\[([^\]]*)\]\s*(?:[#;].*)?")
_INI_KEY = re.compile(r"([^=:]+?)\s*[=:]\s*(.*)")
_COMMENT = re.compile(r'("(?:[^"\\\n]|\\.)*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:[^"\\\n]|\\.)*")|,(?=\s*[}\]])')


class NotUnderstood(ValueError):
    """A text is not what its type says. `line` is from 1, None where it is not known."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = line


def parse(kind: str, text: str) -> Tree:
    """The tree of a text of this type; of plain text its lines. Raises `NotUnderstood`."""
    reader = _READERS.get(kind)
    if reader is None:
        return text.splitlines()
    try:
        tree = reader(text.removeprefix("\ufeff"))
    except RecursionError as error:
        raise NotUnderstood("it is nested too deeply") from error
    return _bounded(tree)


def read_env(text: str) -> dict[str, Tree]:
    """`KEY=value` lines as Docker and Compose read them; a later line wins. A key without `=` is None."""
    tree: dict[str, Tree] = {}
    lines = enumerate(text.splitlines(), 1)
    for number, raw in lines:
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _ENV_LINE.fullmatch(line)
        if match is None:
            if not (bare := _BARE_ENV.fullmatch(line)):
                raise NotUnderstood("no assignment", number)
            tree[bare[1]] = None
            continue
        tree[match[1]] = _env_value(match[2], lines, number)
    return tree


def _env_value(value: str, lines: Iterator[tuple[int, str]], number: int) -> str:
    quote = value[:1]
    if quote not in {'"', "'"}:
        return re.split(r"\s#", value, maxsplit=1)[0].strip()
    while (end := _closing(value, quote)) is None:  # a quoted value may go on over lines
        try:
            value += "\n" + next(lines)[1]
        except StopIteration:
            raise NotUnderstood("a quote that nobody closes", number) from None
    inner = value[1:end]
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), inner) if quote == '"' else inner


def _closing(value: str, quote: str) -> int | None:
    position = 1
    while position < len(value):
        if value[position] == "\\" and quote == '"':
            position += 1
        elif value[position] == quote:
            return position
        position += 1
    return None


def read_ini(text: str) -> dict[str, Tree]:
    """Sections of keys; keys before the first section stand under "". A repeated key is a list, as in units."""
    tree: dict[str, dict[str, Tree]] = {}
    section: dict[str, Tree] = {}
    key = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in "#;!":
            continue
        if match := _INI_SECTION.fullmatch(line):
            section = _section(tree, match[1])
            key = None
        elif key is not None and raw[0] in " \t" and not _INI_KEY.fullmatch(line):
            section[key] = _onto(section[key], line)
        elif match := _INI_KEY.fullmatch(line):
            section = section if tree else tree.setdefault("", section)
            key = match[1]
            _put(section, key, match[2])
        elif len(line.split()) <= 4:  # noqa: PLR2004 - a flag, or a word or two as in my.cnf; prose is no ini
            section = section if tree else tree.setdefault("", section)
            key = line
            section.setdefault(key, None)
        else:
            raise NotUnderstood("neither section nor key", number)
    return dict(tree)


def _section(tree: dict[str, dict[str, Tree]], name: str) -> dict[str, Tree]:
    """Sections of one name, as WireGuard has its peers, are told apart by number."""
    number, unique = 1, name
    while unique in tree:
        number += 1
        unique = f"{name} #{number}"
    return tree.setdefault(unique, {})


def _onto(value: Tree, line: str) -> Tree:
    if isinstance(value, list):
        return [*value[:-1], f"{value[-1]}\n{line}"]
    return f"{value or ''}\n{line}"


def _put(section: dict[str, Tree], key: str, value: str) -> None:
    if key not in section:
        section[key] = value
    elif isinstance(section[key], list):
        section[key].append(value)
    else:
        section[key] = [section[key], value]


def read_json(text: str) -> Tree:
    """JSON; comments and trailing commas are taken where it is none without them."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        relaxed = _TRAILING_COMMA.sub(lambda m: m[1] or "", _COMMENT.sub(_blanked, text))
        try:
            return json.loads(relaxed)
        except ValueError:
            raise NotUnderstood(error.msg, error.lineno) from None
    except ValueError as error:  # a number of more digits than Python takes
        raise NotUnderstood(str(error)[:200]) from error


def _blanked(match: re.Match[str]) -> str:
    return match[1] or "\n" * match[0].count("\n")


def read_toml(text: str) -> Tree:
    try:
        return tomllib.loads(text.replace("\r\n", "\n"))
    except ValueError as error:
        line = re.search(r"line (\d+)", str(error))
        raise NotUnderstood(str(error)[:200], int(line[1]) if line else None) from error


class _Loader(yaml.CSafeLoader):
    """Scalars of YAML as text, but null, numbers and true and false: `on`, `22:22` and dates stay as written."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML has it
        first: [(tag, expression) for tag, expression in resolvers if tag not in {
            "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool",
        }]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }  # fmt: skip


def _scalar_or_more(loader: Any, _suffix: str, node: yaml.Node) -> Tree:
    """What has a tag of its own (`!vault`, `!reset`) as what it would be without."""
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return node.value


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\Z"), list("-+0123456789")
)
_Loader.add_multi_constructor("!", _scalar_or_more)


def read_yaml(text: str) -> Tree:
    """One document, or a list of several."""
    check_depth(text)
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise NotUnderstood(str(problem)[:200], None if mark is None else mark.line + 1) from error
    except (ValueError, TypeError, RecursionError, OverflowError) as error:  # unhashable keys, strange numbers
        raise NotUnderstood(str(error)[:200]) from error
    return documents[0] if len(documents) == 1 else documents


def check_depth(text: str) -> None:
    """Raise `NotUnderstood` for a text that libyaml would recurse into until the process dies.

    It has no limit of its own. Block structure nests with indentation or on one line (`- - -`), flow with brackets;
    counted generously, brackets in quotes and comments too.
    """
    depth = 0
    for match in _NESTING.finditer(text):
        token = match[0]
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth = max(0, depth - 1)
        elif len(token.split()) > _DEEPEST:
            raise NotUnderstood("it is nested too deeply")
        if depth > 2 * _DEEPEST:
            raise NotUnderstood("it is nested too deeply")
    for line in text.splitlines():
        if len(line) > _DEEPEST * 10 and not line[: _DEEPEST * 10].strip(" "):
            raise NotUnderstood("it is indented too deeply")


_NESTING = re.compile(r"[\[{\]}]|(?:[-?:][ \t]+){4,}")


def _bounded(tree: Tree) -> Tree:
    """The tree with text for keys, and copies for aliases, as long as that is not too much of it."""
    left = _MOST_NODES

    def copy(node: Tree, depth: int) -> Tree:
        nonlocal left
        left -= 1
        if left < 0 or depth > 2 * _DEEPEST:
            raise NotUnderstood("it is too large once its aliases are followed, or nested too deeply")
        if isinstance(node, Mapping):
            return {_key(key): copy(value, depth + 1) for key, value in node.items()}
        if isinstance(node, list | tuple | set | frozenset):
            return [copy(item, depth + 1) for item in node]
        if node is None or isinstance(node, bool | int | float | str):
            return node
        return node.decode("utf-8", "replace") if isinstance(node, bytes) else str(node)

    return copy(tree, 0)


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return "null" if key is None else str(key)


_READERS: Mapping[str, Callable[[str], Tree]] = {
    "env": read_env,
    "ini": read_ini,
    "json": read_json,
    "toml": read_toml,
    **dict.fromkeys(("yaml", "compose", "traefik"), read_yaml),
    **dict.fromkeys(("nginx", "swag"), nginx_tree),
    "apache": apache_tree,
}
