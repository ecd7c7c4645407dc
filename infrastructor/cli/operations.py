"""One operation → one command: `zfs_pool_list` is `infrastructor zfs pool-list DEVICE [--pool …]`.

Values go to the service as they were typed; it checks them, so a wrong one is audited as at the other doors.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic_core import from_json

from infrastructor.cli.session import REFUSED, Session, caller
from infrastructor.errors import ValidationFailed
from infrastructor.operation import Answer, DestroyParams, Operation
from infrastructor.signature import Field, Kind, fields_of

if TYPE_CHECKING:
    from infrastructor.app import Application

_METAVARS = {Kind.INTEGER: "INTEGER", Kind.NUMBER: "NUMBER", Kind.MAPPING: "KEY=VALUE", Kind.JSON: "JSON"}


def add_commands(app: typer.Typer, catalog: Iterable[Operation[Any, Any]], session: Session) -> None:
    """A group for the first word of the names, a command for the rest."""
    groups: dict[str, typer.Typer] = {}
    for operation in catalog:
        if operation.domain not in groups:
            groups[operation.domain] = typer.Typer(
                no_args_is_help=True, help=f"Operations on {operation.domain}.", rich_markup_mode=None
            )
            app.add_typer(groups[operation.domain], name=operation.domain)
        groups[operation.domain].command(
            command_name(operation), help=operation.description, short_help=operation.summary
        )(_command(operation, session))


def command_name(operation: Operation[Any, Any]) -> str:
    return operation.name.partition("_")[2].replace("_", "-")


def _command(operation: Operation[Any, Any], session: Session) -> Callable[..., None]:
    fields = {field.name: field for field in fields_of(operation)}

    def command(**given: Any) -> None:
        as_json = given.pop("json")
        typed = {name: value for name, value in given.items() if value not in (None, [])}

        async def work(application: "Application") -> Answer[Any]:
            try:
                arguments = {name: _argument(fields[name], value) for name, value in typed.items()}
            except ValidationFailed as error:
                await application.service.refuse(operation, caller(), error)
                raise
            answer = await application.service.submit(operation, arguments, caller())
            if getattr(answer.result, "status", None) == "planned" and session.interactive():
                return await _confirmed(application, operation, arguments, answer)
            return answer

        answer = session.run(work)
        _show(answer, as_json=as_json)
        if issubclass(operation.params, DestroyParams) and answer.result.status == "planned":
            typer.echo("Nothing was done. To carry out this plan, call again with --plan-token.", err=True)
            raise typer.Exit(REFUSED)

    parameters = [_parameter(field) for field in fields.values()]
    parameters.append(_keyword("json", bool, typer.Option("--json", help="The exact result, for programs."), False))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


async def _confirmed(
    application: "Application", operation: Operation[Any, Any], arguments: dict[str, Any], planned: Answer[Any]
) -> Answer[Any]:
    """Show the plan, ask, and carry it out; a no leaves the plan as the answer."""
    plan = planned.result.plan
    typer.echo(f"{plan.summary}\n" + "\n".join(f"  - {effect}" for effect in plan.effects), err=True)
    for line in plan.commands:
        typer.echo(f"  $ {line}", err=True)
    typer.echo("This can be undone." if plan.reversible else "This cannot be undone.", err=True)
    if not typer.confirm("Do it?", err=True):
        return planned
    return await application.service.submit(operation, {**arguments, "plan_token": plan.plan_token}, caller())


def _show(answer: Answer[Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(answer.body)
        return
    from infrastructor.cli.render import render  # noqa: PLC0415 - rich, for people only

    render(answer.result.model_dump(mode="json"))


def _argument(field: Field, value: Any) -> Any:
    """A value as typed, in the form the service takes."""
    if field.kind is Kind.MAPPING and not field.many:
        return dict(_pair(field, text) for text in value)
    if field.kind is Kind.JSON:
        return [_json(field, text) for text in value] if field.many else _json(field, value)
    return value


def _pair(field: Field, text: str) -> tuple[str, str]:
    key, given, value = text.partition("=")
    if not given:
        raise ValidationFailed(f"--{field.name} {text!r} is not KEY=VALUE.", hint=f"Write --{field.name} role=db.")
    return key, value


def _json(field: Field, text: str) -> Any:
    try:
        return from_json(text)
    except ValueError as error:
        raise ValidationFailed(f"{field.name} is not JSON: {error}.", hint="Quote it for the shell: '{…}'.") from error


def _parameter(field: Field) -> inspect.Parameter:
    """Required plain values are positional, everything else is an option."""
    repeated = field.many or field.kind is Kind.MAPPING
    metavar = f"[{'|'.join(field.choices)}]" if field.choices else _METAVARS.get(field.kind)
    dashed = field.name.replace("_", "-")
    if field.kind is Kind.FLAG and not field.many:
        option = typer.Option(f"--{dashed}/--no-{dashed}", help=_help(field), show_default=False)
        return _keyword(field.name, bool | None, option, None)
    if field.required and not repeated:
        return _keyword(field.name, str, typer.Argument(help=field.description, metavar=metavar or field.name.upper()))
    option = typer.Option(f"--{dashed}", help=_help(field), metavar=metavar or "TEXT", show_default=False)
    default: Any = inspect.Parameter.empty if field.required else None
    return _keyword(field.name, list[str] | None if repeated else str | None, option, default)


def _help(field: Field) -> str:
    shown = field.default not in (None, [], {}, ())
    return f"{field.description} [default: {field.default}]" if shown else field.description


def _keyword(name: str, kind: Any, info: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind, info], default=default)
