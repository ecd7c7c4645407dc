"""An operation's params as plain fields, for the doors that spell them their own way.

REST asks which query fields may repeat, the CLI which are flags or `key=value`, the reference prints them all.
Everything is read from the JSON schema, so it holds for whatever a params class declares.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from infrastructor.operation import Operation

Schema = dict[str, Any]


class Kind(StrEnum):
    """How one value is written on a command line or in a query string."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "flag"
    MAPPING = "mapping"  # key=value, repeatable
    JSON = "json"


@dataclass(frozen=True, kw_only=True)
class Field:
    """One parameter. `many`: a list, its items given one by one. `default` is the JSON form.

    `completes` names the source of values in `catalog.COMPLETIONS`.
    """

    name: str
    kind: Kind
    required: bool
    description: str
    many: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    completes: str | None = None
    schema: Mapping[str, Any] = field(default_factory=dict)


@lru_cache(maxsize=512)
def fields_of(operation: Operation[Any, Any]) -> tuple[Field, ...]:
    """The params of an operation in declaration order."""
    schema = inlined_schema(operation.params, "validation")
    required = set(schema.get("required", ()))
    return tuple(_field(name, spec, name in required) for name, spec in schema.get("properties", {}).items())


def inlined_schema(model: type[BaseModel], mode: JsonSchemaMode) -> Schema:
    """The model's JSON schema with every `$ref` put in place."""
    schema = model.model_json_schema(mode=mode)
    definitions = schema.pop("$defs", {})
    inlined: Schema = _inline(schema, definitions)
    return inlined


def without_null(schema: Mapping[str, Any]) -> Schema:
    """The schema of a value that is given: `X | None` becomes `X`, its own words kept."""
    options = schema.get("anyOf")
    if not options:
        return dict(schema)
    given = [option for option in options if option.get("type") != "null"]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**given[0], **rest} if len(given) == 1 else {**rest, "anyOf": given}


def _field(name: str, spec: Schema, required: bool) -> Field:
    given = without_null(spec)
    many = given.get("type") == "array"
    item = without_null(given.get("items", {})) if many else given
    return Field(
        name=name,
        kind=_kind(item),
        many=many,
        required=required,
        default=spec.get("default"),
        description=spec.get("description") or given.get("description", ""),
        choices=tuple(str(choice) for choice in item.get("enum", ())),
        completes=given.get("x-completes") or item.get("x-completes"),
        schema=spec,
    )


def _kind(schema: Mapping[str, Any]) -> Kind:
    named = {"integer": Kind.INTEGER, "number": Kind.NUMBER, "boolean": Kind.FLAG, "array": Kind.JSON}
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        plain = isinstance(values, Mapping) and values.get("type") == "string"
        return Kind.MAPPING if plain and "properties" not in schema else Kind.JSON
    return named.get(str(schema.get("type")), Kind.TEXT)


def _inline(node: Any, definitions: Mapping[str, Any], inside: tuple[str, ...] = ()) -> Any:
    if isinstance(node, list):
        return [_inline(item, definitions, inside) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if reference is None:
        return {key: _inline(value, definitions, inside) for key, value in node.items()}
    name = str(reference).removeprefix("#/$defs/")
    if name in inside:
        return {}  # a model that holds itself: any value, below the first level
    beside = {key: value for key, value in node.items() if key != "$ref"}
    return {**_inline(definitions[name], definitions, (*inside, name)), **beside}
