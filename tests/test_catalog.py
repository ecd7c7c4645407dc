"""Rules that every operation and every command must keep. A new one is under them the moment it is listed."""

import ast
import dataclasses
import importlib
import inspect
import json
import pkgutil
import re
import textwrap
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel

import infrastructor.domains
from api.openapi import path_parameters
from infrastructor.catalog import CATALOG, COMPLETIONS
from infrastructor.command import Command
from infrastructor.engine import EngineQuery
from infrastructor.operation import CachedParams, DestroyParams, DestroyResult, DeviceParams, Operation
from infrastructor.ports.callers import Effect, Interface, Role
from infrastructor.ports.ssh import Lane
from infrastructor.signature import fields_of, inlined_schema
from infrastructor.watchers.listing import CONTAINER_ANSWERS
from mcp_server.schemas import input_schema, output_schema

DOMAIN_WORDS = {
    "audit", "cache", "change", "compose", "config", "connectivity", "container", "device", "docker", "drive", "event",
    "fleet", "log", "network", "operation", "output", "package", "plan", "port", "process", "proxy", "server",
    "service", "stack", "system", "zfs",
}  # fmt: skip
POSIX = {"cat", "date", "df", "head", "id", "ls", "ps", "stat", "tail", "test", "uname", "wc"}  # on every machine
RESERVED = {"json", "yes"}  # options of the CLI itself
UNITLESS = re.compile(r"(^|_)(size|duration|uptime|age|memory|usage|temperature|interval|timeout|ttl|latency)$")

# Tokens of name, description and input schema, as an assistant pays for them. The goal is 100 on average over the
# whole catalogue; the registry's few tools with a dozen fields are most of what is above it today.
MOST_TOKENS_ON_AVERAGE = 100
MOST_TOKENS_OF_ONE = 250

COMMANDS: dict[str, type[Command[Any]]] = {c.__name__: c for operation in CATALOG for c in operation.commands}
DOMAINS = [module.name for module in pkgutil.iter_modules(infrastructor.domains.__path__)]

every_operation = pytest.mark.parametrize("operation", CATALOG, ids=lambda operation: operation.name)
QUERIES: dict[str, type[EngineQuery[Any]]] = {q.__name__: q for operation in CATALOG for q in operation.queries}
every_query = pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
every_command = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())


def tokens(text: str) -> int:
    """About what a tokenizer counts: words, numbers and runs of signs (within 5 % of o200k on tool schemas)."""
    return len(re.findall(r"[A-Za-z]+|[0-9]+|[^A-Za-z0-9\s]+", text))


def tokens_of(operation: Operation[Any, Any]) -> int:
    tool = {"name": operation.name, "description": operation.description, "inputSchema": input_schema(operation)}
    return tokens(json.dumps(tool, separators=(",", ":")))


def properties(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every property in a schema at any depth, with its path."""
    for name, spec in schema.get("properties", {}).items():
        yield f"{path}{name}", spec
        yield from properties(spec, f"{path}{name}.")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            yield from properties(schema[key], path)
    for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from properties(option, path)


# --- the catalogue as a whole --------------------------------------------------------------------------


def test_names_and_routes_are_unique() -> None:
    names = [operation.name for operation in CATALOG]
    routes = [(operation.route.method, re.sub(r"\{.*?\}", "{}", operation.route.path)) for operation in CATALOG]
    uris = [operation.resource_uri for operation in CATALOG if operation.resource_uri]
    for values in (names, routes, uris):
        assert len(values) == len(set(values))


def test_no_two_commands_or_queries_share_a_name() -> None:
    found = {asked for operation in CATALOG for asked in (*operation.commands, *operation.queries)}
    assert len(found) == len(COMMANDS) + len(QUERIES)
    assert not COMMANDS.keys() & QUERIES.keys()


def test_what_is_cached_under_one_name_is_one_operations() -> None:
    names = [operation.cache.data_type for operation in CATALOG if operation.cache is not None]
    assert len(names) == len(set(names))


def test_what_changes_makes_every_answer_old_that_it_is_about() -> None:
    cached = [(one, one.cache.data_type) for one in CATALOG if one.cache is not None]
    of_devices = {name for one, name in cached if issubclass(one.params, DeviceParams)}
    of_containers = {name for one, name in cached if one.queries}
    by_name = {operation.name: operation for operation in CATALOG}
    assert of_devices <= set(by_name["device_update"].invalidates)
    assert of_containers <= set(by_name["container_stop"].invalidates) == set(CONTAINER_ANSWERS)


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_operation_of_a_domain_is_listed(domain: str) -> None:
    package = importlib.import_module(f"infrastructor.domains.{domain}")
    declared: dict[str, Operation[Any, Any]] = {}
    for module in pkgutil.iter_modules(package.__path__):
        members = vars(importlib.import_module(f"{package.__name__}.{module.name}")).values()
        declared |= {
            member.name: member
            for member in members
            if isinstance(member, Operation) and member.handler.__module__.startswith(f"{package.__name__}.")
        }
    operations = importlib.import_module(f"{package.__name__}.operations")

    assert {operation.name for operation in operations.OPERATIONS} == set(declared)
    assert set(operations.OPERATIONS) <= set(CATALOG)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_says_in_one_line_what_it_covers(domain: str) -> None:
    text = importlib.import_module(f"infrastructor.domains.{domain}").__doc__ or ""
    assert re.fullmatch(r"[^\n]{10,120}\.", text.strip())


def test_tools_are_cheap_to_list() -> None:
    counted = {operation.name: tokens_of(operation) for operation in CATALOG}
    assert sum(counted.values()) <= MOST_TOKENS_ON_AVERAGE * len(counted), counted
    assert max(counted.values(), default=0) <= MOST_TOKENS_OF_ONE, counted


# --- each operation ------------------------------------------------------------------------------------


@every_operation
def test_its_name_is_domain_thing_verb(operation: Operation[Any, Any]) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", operation.name)
    assert operation.domain in DOMAIN_WORDS


@every_operation
def test_its_description_says_what_and_when(operation: Operation[Any, Any]) -> None:
    sentences = re.findall(r"[^.:;]+[.:;](?=\s|$)", operation.description)
    assert operation.summary.endswith(".")
    assert operation.description.endswith(".")
    assert len(sentences) >= 2
    assert len(operation.description) <= 300


@every_operation
def test_all_its_params_are_described(operation: Operation[Any, Any]) -> None:
    missing = [field.name for field in fields_of(operation) if not field.description]
    assert missing == []
    assert not RESERVED & {field.name for field in fields_of(operation)}


@every_operation
def test_all_its_result_fields_are_described_and_name_their_units(operation: Operation[Any, Any]) -> None:
    fields = dict(properties(inlined_schema(operation.result, "serialization")))
    undescribed = [path for path, spec in fields.items() if not spec.get("description")]
    numbers = [
        path
        for path, spec in fields.items()
        if {"integer", "number"} & {option.get("type") for option in (spec, *spec.get("anyOf", ()))}
    ]
    assert undescribed == []
    assert [path for path in numbers if UNITLESS.search(path)] == []


@every_operation
def test_its_schemas_are_objects_that_every_client_can_read(operation: Operation[Any, Any]) -> None:
    for schema in (input_schema(operation), output_schema(operation)):
        assert schema["type"] == "object"
        assert not {"anyOf", "oneOf", "allOf", "$ref", "$defs"} & schema.keys()
        assert "$ref" not in str(schema)


def takes_long_text(operation: Operation[Any, Any]) -> bool:
    """Whether it is given texts that no URL could hold."""
    schema = operation.params.model_json_schema()["properties"].values()
    return any(spec.get("maxLength", 0) > 4000 for field in schema for spec in (field, *field.get("anyOf", ())))


@every_operation
def test_its_effect_decides_verb_cache_and_confirmation(operation: Operation[Any, Any]) -> None:
    reading = operation.effect is Effect.READ
    destroying = operation.effect is Effect.DESTROY
    verbs = {Effect.READ: {"GET"}, Effect.CHANGE: {"POST", "PUT", "PATCH"}, Effect.DESTROY: {"DELETE", "POST"}}
    allowed = verbs[operation.effect] | (
        {"POST"} if reading and (operation.fan_out or takes_long_text(operation)) else set()
    )

    assert operation.route.method in allowed
    assert reading or operation.cache is None
    assert reading or operation.resource_uri is None
    assert issubclass(operation.params, CachedParams) is (operation.cache is not None)
    assert (
        issubclass(operation.params, DestroyParams)
        is issubclass(operation.result, DestroyResult)
        is (operation.plan is not None)
        is destroying
    )
    assert not (reading and operation.invalidates)


@every_operation
def test_a_read_declares_no_changing_command(operation: Operation[Any, Any]) -> None:
    if operation.effect is Effect.READ:
        assert [command.__name__ for command in operation.commands if command.lane is Lane.CHANGE] == []


@every_operation
def test_its_route_and_uri_name_only_params_it_has(operation: Operation[Any, Any]) -> None:
    names = set(operation.params.model_fields)
    required = {name for name, field in operation.params.model_fields.items() if field.is_required()}
    in_uri = set(re.findall(r"\{\??(\w+)\*?\}", operation.resource_uri or ""))

    assert operation.route.path.startswith("/api/")
    assert path_parameters(operation) <= names
    assert in_uri <= names
    if operation.route.method == "GET" and operation.resource_uri:
        assert required <= in_uri


@every_operation
def test_what_changes_its_resource_is_named_by_the_uri(operation: Operation[Any, Any]) -> None:
    in_uri = set(re.findall(r"\{\??(\w+)\*?\}", operation.resource_uri or ""))
    for change in operation.changed_by:
        assert operation.resource_uri is not None
        assert change.subject is None or change.subject in in_uri
        assert change.subject is not None or not (change.names or change.ids)
        assert change.topic is None or "device" in in_uri  # else it would be told of any device


@every_operation
def test_what_completes_its_params_exists(operation: Operation[Any, Any]) -> None:
    named = {field.completes for field in fields_of(operation) if field.completes}
    assert named <= COMPLETIONS.keys()
    assert "device" in named or not issubclass(operation.params, DeviceParams)


@every_operation
def test_what_a_door_hides_is_no_part_of_what_it_shows(operation: Operation[Any, Any]) -> None:
    if operation.hidden_from:
        assert operation.resource_uri is None
        assert not issubclass(operation.params, DeviceParams)  # nothing that fleet_run could reach
    assert [other.name for other in operation.uses if set(other.hidden_from) - set(operation.hidden_from)] == []


@every_operation
def test_who_decides_on_a_plan_is_an_admin_and_no_assistant(operation: Operation[Any, Any]) -> None:
    if operation.domain == "plan":
        assert operation.role is Role.ADMIN
        assert Interface.MCP in operation.hidden_from


@every_operation
def test_what_changes_only_the_registration_runs_nothing(operation: Operation[Any, Any]) -> None:
    if operation.registration_only:
        assert operation.effect is Effect.CHANGE
        assert (operation.commands, operation.uses, operation.fan_out) == ((), (), False)


@every_operation
def test_a_destroyed_result_can_be_only_a_plan(operation: Operation[Any, Any]) -> None:
    if operation.effect is Effect.DESTROY:
        operation.result.model_validate({"status": "planned", "plan": None})


@every_operation
def test_what_it_guards_are_params_that_can_be_left_out(operation: Operation[Any, Any]) -> None:
    for name, _ in operation.guarded:
        assert not operation.params.model_fields[name].get_default()


@every_operation
def test_its_models_are_frozen_and_closed(operation: Operation[Any, Any]) -> None:
    for model in (operation.params, operation.result):
        assert issubclass(model, BaseModel)
        assert model.model_config["frozen"]
        assert model.model_config["extra"] == "forbid"


# --- each command --------------------------------------------------------------------------------------


@every_command
def test_its_fields_are_its_slots(command: type[Command[Any]]) -> None:
    parameters = command.__dataclass_params__  # type: ignore[attr-defined]
    assert parameters.frozen
    fields = {field.name for field in dataclasses.fields(command)}
    worded = {name for name, member in inspect.getmembers(command) if isinstance(member, property)}
    slots = set(command.slots())
    # A slot may be a property that words a field: bytes as base64, a number as octal.
    assert slots <= fields | worded
    assert fields <= slots or (slots - fields)


@every_command
def test_its_text_is_a_literal(command: type[Command[Any]]) -> None:
    body = ast.parse(textwrap.dedent(inspect.getsource(command))).body[0]
    assert isinstance(body, ast.ClassDef)
    assigned = {
        target.id: statement.value
        for statement in body.body
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        if isinstance(target, ast.Name) and target.id in {"template", "script"}
    }
    assert [name for name, value in assigned.items() if not _is_literal(value)] == []
    assert command.template or command.script
    assert not re.search(r"[;&|<>`$]", command.template)


def _is_literal(value: ast.expr) -> bool:
    """A constant, or one put together from constants of its module."""
    if isinstance(value, ast.JoinedStr):
        parts = [part.value for part in value.values if isinstance(part, ast.FormattedValue)]
        return all(isinstance(part, ast.Name) and part.id.isupper() for part in parts)
    return isinstance(value, ast.Constant) or (isinstance(value, ast.Name) and value.id.isupper())


@every_command
def test_what_a_value_could_turn_into_an_option_comes_after_two_dashes(command: type[Command[Any]]) -> None:
    words = [] if command.script else command.template.partition(" -- ")[0].split()
    loose = [word for word in words if re.fullmatch(r"\{\w+\}", word)]
    kinds = {field.name: field.type for field in dataclasses.fields(command)}
    assert [word for word in loose if not _cannot_be_an_option(kinds[word.strip("{}")])] == []


def _cannot_be_an_option(kind: Any) -> bool:
    return kind in (bool, int, float) or (isinstance(kind, type) and issubclass(kind, Enum))


@every_command
def test_it_names_the_program_it_needs(command: type[Command[Any]]) -> None:
    if command.script is None and command.needs is None:
        assert command.template.split()[0] in POSIX
    elif command.script is None:
        assert command.needs in command.template.split()


@every_command
def test_it_says_what_it_is_for(command: type[Command[Any]]) -> None:
    assert (command.__doc__ or "").strip()
    assert not (command.__doc__ or "").startswith(command.__name__ + "(")


# --- each query ----------------------------------------------------------------------------------------


@every_query
def test_the_fields_of_a_query_are_its_slots(query: type[EngineQuery[Any]]) -> None:
    parameters = query.__dataclass_params__  # type: ignore[attr-defined]
    slots = re.findall(r"\{(\w+)\}", query.target)
    assert parameters.frozen
    assert {field.name for field in dataclasses.fields(query)} == set(slots)
    assert len(slots) == len(set(slots))


@every_query
def test_the_target_of_a_query_is_a_literal(query: type[EngineQuery[Any]]) -> None:
    body = ast.parse(textwrap.dedent(inspect.getsource(query))).body[0]
    assert isinstance(body, ast.ClassDef)
    values = [
        statement.value
        for statement in body.body
        if isinstance(statement, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == "target" for target in statement.targets)
    ]
    assert [type(value) for value in values] == [ast.Constant]
    assert re.fullmatch(r"(/([a-z]+|\{\w+\}))+(\?[a-z]+=[\w{}]+(&[a-z]+=[\w{}]+)*)?", query.target)


@every_query
def test_the_command_in_place_of_a_query_is_declared(query: type[EngineQuery[Any]]) -> None:
    values: Any = {field.name: "x" for field in dataclasses.fields(query) if field.default is dataclasses.MISSING}
    command = query(**values).command()
    for operation in CATALOG:
        if query in operation.queries and command is not None:
            assert type(command) in operation.commands


@every_query
def test_a_query_says_what_it_is_for(query: type[EngineQuery[Any]]) -> None:
    assert (query.__doc__ or "").strip()
    assert not (query.__doc__ or "").startswith(query.__name__ + "(")
