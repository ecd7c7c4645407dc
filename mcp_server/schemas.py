"""JSON schemas as lean as a model needs them.

A model pays for every token of a tool's input schema, so titles, patterns, limits and defaults that mean "off" go:
the service checks all of it and answers clearly. Output schemas stay exact in shape and lose their prose, which the
reference has.
"""

from collections.abc import Mapping
from typing import Any

from infrastructor.operation import Operation
from infrastructor.signature import Schema, inlined_schema, without_null

_SHAPE = ("type", "enum", "const", "items", "properties", "required", "additionalProperties", "anyOf", "oneOf")


def input_schema(operation: Operation[Any, Any]) -> Schema:
    """The tool's `inputSchema`: an object without `anyOf` at the top, optional fields without their null."""
    schema = _lean_input(inlined_schema(operation.params, "validation"))
    schema.pop("description", None)
    schema.setdefault("properties", {})
    return schema


def output_schema(operation: Operation[Any, Any]) -> Schema:
    """The tool's `outputSchema`. Unknown is null there, so null stays."""
    return _lean_output(inlined_schema(operation.result, "serialization"))


def _lean_input(schema: Mapping[str, Any]) -> Schema:
    given = without_null(schema)
    kept = {key: given[key] for key in (*_SHAPE, "description") if key in given}
    if isinstance(kept.get("additionalProperties"), bool):
        del kept["additionalProperties"]
    if "enum" in kept:
        kept.pop("type", None)
    if given.get("default"):
        kept["default"] = given["default"]
    return _walk(kept, _lean_input)


def _lean_output(schema: Mapping[str, Any]) -> Schema:
    kept = {key: schema[key] for key in (*_SHAPE, "format") if key in schema}
    if kept.get("additionalProperties") is False:
        del kept["additionalProperties"]  # a client must not break when a field is added
    options = kept.get("anyOf", ())
    if options and all(set(option) == {"type"} for option in options):
        kept = {"type": [option["type"] for option in options]}
    return _walk(kept, _lean_output)


def _walk(schema: Schema, lean: Any) -> Schema:
    """Apply `lean` to every schema inside this one."""
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            schema[key] = lean(schema[key])
    if "properties" in schema:
        schema["properties"] = {name: lean(spec) for name, spec in schema["properties"].items()}
    for key in ("anyOf", "oneOf"):
        if key in schema:
            schema[key] = [lean(option) for option in schema[key]]
    return schema
