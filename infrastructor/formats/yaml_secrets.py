"""Secrets in YAML, by key; list items `KEY=value` as in Compose count too."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from infrastructor.formats.names import is_harmless, is_secret
from infrastructor.formats.spans import Span, by_shape
from infrastructor.formats.trees import NotUnderstood, check_depth

_PROPERTIES = re.compile(r"(?:[&!][^\s,\[\]{}]*\s+)+")
_COMMENT = re.compile(r"(?m)(?:^|(?<=\s))#[^\n]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][\w.\-\[\]]*)\s*=\s*(.*)", re.DOTALL)
_REFERENCES = frozenset({"!secret", "!env_var", "!include", "!reset", "!override"})
_NAMING = frozenset({"name", "key", "field"})
_MOST = 500_000


def find(text: str, *, compose: bool = False, everything: bool = False) -> Iterable[Span] | None:
    """Where the secrets are; None for a text that is no YAML."""
    offset = 1 if text.startswith("\ufeff") else 0
    body = text[offset:]
    try:
        check_depth(body)
        documents = list(yaml.compose_all(body, Loader=yaml.CSafeLoader))
        spans = [span for node in documents for span in _Walk(body, compose=compose).spans(node, secret=everything)]
    except (yaml.YAMLError, NotUnderstood, RecursionError, ValueError, TypeError):
        return None
    for match in _COMMENT.finditer(body):
        spans += _of_comment(body, match)
    return [Span(span.start + offset, span.end + offset, span.quote) for span in spans]


def _of_comment(body: str, match: re.Match[str]) -> Iterator[Span]:
    """A line that was commented out is no less secret."""
    yield from by_shape(body, match.start(), match.end())
    line = re.match(r"#+[\s-]*[\"']?([\w.-]+)[\"']?\s*[:=]\s*(\S[^\n]*)", match[0])
    if line is not None and is_secret(line[1]) and not is_harmless(line[2]):
        yield Span(match.start() + line.start(2), match.start() + len(match[0].rstrip()))


class _Walk:
    """All nodes of one document, each once: an alias is where its anchor is."""

    def __init__(self, text: str, *, compose: bool) -> None:
        self._text = text
        self._compose = compose
        self._seen: set[int] = set()

    def spans(self, node: Any, *, secret: bool, key: str = "") -> Iterator[Span]:
        if node is None or id(node) in self._seen:
            return
        self._seen.add(id(node))
        if len(self._seen) > _MOST:
            raise NotUnderstood("it is too large")
        if isinstance(node, yaml.ScalarNode):
            yield from self._scalar(node, secret=secret)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                yield from self.spans(item, secret=secret, key=key)
        else:
            yield from self._mapping(node, secret=secret)

    def _mapping(self, node: Any, *, secret: bool) -> Iterator[Span]:
        named = any(_scalar(key) in _NAMING and is_secret(_scalar(value)) for key, value in node.value)
        kubernetes = any(_scalar(key) == "kind" and _scalar(value) == "Secret" for key, value in node.value)
        for key, value in node.value:
            name = _scalar(key)
            hidden = secret or (named and name == "value") or (kubernetes and name in {"data", "stringData"})
            if not hidden and is_secret(name):
                # `secrets:` of Compose names them and says where they come from.
                hidden = isinstance(value, yaml.ScalarNode) or not self._compose
                hidden = hidden and not (name == "secrets" and not isinstance(value, yaml.ScalarNode))
            if isinstance(key, yaml.ScalarNode):
                yield from by_shape(self._text, key.start_mark.index, key.end_mark.index)
            yield from self.spans(value, secret=hidden, key=name)

    def _scalar(self, node: Any, *, secret: bool) -> Iterator[Span]:
        start, end = node.start_mark.index, node.end_mark.index
        properties = _PROPERTIES.match(self._text, start, end)
        start = properties.end() if properties else start
        if node.style in {"|", ">"}:
            start = self._text.find("\n", start, end) + 1 or end
        elif node.style in {"'", '"'}:
            start, end = start + 1, end - 1
        if node.tag in _REFERENCES or is_harmless(node.value):
            return
        if secret:
            yield Span(start, end)
            return
        block = node.style in {"|", ">"}
        match = None if block else _ASSIGNMENT.fullmatch(self._text[start:end])
        if match is not None and is_secret(match[1]):
            if not is_harmless(match[2]):
                yield Span(start + match.start(2), end)
            return
        if block:
            yield from _lines(self._text, start, end)
        yield from by_shape(self._text, start, end)


def _lines(text: str, start: int, end: int) -> Iterator[Span]:
    """What stands in a block of text is often configuration itself."""
    for match in re.finditer(r"(?m)^[ \t#;]*[\"']?([\w.-]+)[\"']?\s*[:=]\s*(\S[^\n]*)", text[start:end]):
        if is_secret(match[1]) and not is_harmless(match[2]):
            yield Span(start + match.start(2), start + match.start(2) + len(match[2].rstrip()))


def _scalar(node: Any) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""
