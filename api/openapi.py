"""The OpenAPI document: FastAPI's skeleton, with parameters, bodies and results from the catalogue's models."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from api.endpoints import BODY_METHODS
from api.errors import PROBLEM_SCHEMA
from infrastructor.operation import Operation
from infrastructor.signature import fields_of

Schema = dict[str, Any]

_TEMPLATE = "#/components/schemas/{model}"
_PLACEHOLDER = re.compile(r"\{(\w+)(?::\w+)?\}")
_PROBLEMS = {
    "400": "The request is wrong; nothing ran.",
    "401": "No token, or one that is unknown, expired or revoked.",
    "403": "The token's role may not do this, or the host or origin is not ours.",
    "404": "No such device or thing.",
    "409": "It exists already, or changed meanwhile.",
    "413": "The body is too large.",
    "500": "A bug of ours.",
    "502": "The device was reached and answered badly.",
    "503": "The device or a store cannot be reached.",
    "504": "Too slow.",
}
_HEADERS = {
    "X-Operation-Id": {"description": "Finds the audit record.", "schema": {"type": "string", "format": "uuid"}},
    "X-Cache": {"description": "hit, miss or bypass.", "schema": {"type": "string"}},
    "X-Collected-At": {
        "description": "When the device said it.",
        "schema": {"type": "string", "format": "date-time"},
    },
    "X-Duration-Ms": {"description": "Time taken here.", "schema": {"type": "number"}},
}


class Documented:
    """The parts of the document that come from the operations' models."""

    def __init__(self, operations: Iterable[Operation[Any, Any]]) -> None:
        models: list[tuple[type[BaseModel], JsonSchemaMode]] = []
        for operation in operations:
            models += [(operation.params, "validation"), (operation.result, "serialization")]
        references, definitions = models_json_schema(list(dict.fromkeys(models)), ref_template=_TEMPLATE)
        self._references = references
        self.schemas: dict[str, Schema] = {**definitions.get("$defs", {}), "Problem": PROBLEM_SCHEMA}

    def request(self, operation: Operation[Any, Any]) -> Schema:
        """`openapi_extra` of the operation's route. The body is the params without what the path holds."""
        in_path = path_parameters(operation)
        params = self._model(operation.params, "validation")
        properties = params.get("properties", {})
        required = set(params.get("required", ()))
        extra: Schema = {
            "parameters": [
                _parameter(name, properties.get(name, {}), "path", required=True) for name in sorted(in_path)
            ]
        }
        rest = {name: spec for name, spec in properties.items() if name not in in_path}
        if operation.route.method in BODY_METHODS:
            body = {"type": "object", "properties": rest, "additionalProperties": False}
            needed = [name for name in rest if name in required]
            if needed:
                body["required"] = needed
            extra["requestBody"] = {"required": bool(needed), "content": {"application/json": {"schema": body}}}
        else:
            structured = {field.name for field in fields_of(operation) if field.kind in {"mapping", "json"}}
            extra["parameters"] += [
                _parameter(name, spec, "query", required=name in required, as_json=name in structured)
                for name, spec in rest.items()
            ]
        extra["x-effect"] = str(operation.effect)
        return extra

    def responses(self, operation: Operation[Any, Any]) -> dict[int | str, dict[str, Any]]:
        """`responses` of the operation's route."""
        result = self._references[operation.result, "serialization"]
        problem = {"application/problem+json": {"schema": {"$ref": _TEMPLATE.format(model="Problem")}}}
        answers: dict[int | str, dict[str, Any]] = {
            "200": {
                "description": operation.summary,
                "headers": _HEADERS,
                "content": {"application/json": {"schema": result}},
            }
        }
        return answers | {status: {"description": text, "content": problem} for status, text in _PROBLEMS.items()}

    def _model(self, model: type[BaseModel], mode: JsonSchemaMode) -> Schema:
        name = self._references[model, mode]["$ref"].rpartition("/")[2]
        return self.schemas[name]


def path_parameters(operation: Operation[Any, Any]) -> frozenset[str]:
    """Names in the route's path, `{snapshot:path}` included."""
    return frozenset(_PLACEHOLDER.findall(operation.route.path))


def install(app: FastAPI, documented: Documented) -> None:
    """Make `app.openapi()` give the whole document, built once."""

    def openapi() -> Schema:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            components = document.setdefault("components", {})
            components["schemas"] = dict(sorted(documented.schemas.items()))
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"token": []}]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _parameter(name: str, spec: Mapping[str, Any], place: str, *, required: bool, as_json: bool = False) -> Schema:
    schema = {key: value for key, value in spec.items() if key not in {"description", "title"}}
    parameter: Schema = {"name": name, "in": place, "required": required}
    if spec.get("description"):
        parameter["description"] = spec["description"]
    if as_json:
        return parameter | {"content": {"application/json": {"schema": schema}}}
    return parameter | {"schema": schema}
