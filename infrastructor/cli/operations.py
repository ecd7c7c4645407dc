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
from infrastructor.operation import Answer, DestroyParams, Operation, Plan
from infrastructor.ports.callers import Effect, Interface
from infrastructor.signature import Field, Kind, fields_of

if TYPE_CHECKING:
    from infrastructor.app import Application

_METAVARS = {Kind.INTEGER: "INTEGER", Kind.NUMBER: "NUMBER", Kind.MAPPING: "KEY=VALUE", Kind.JSON: "JSON"}


def add_commands(
    app: typer.Typer, catalog: Iterable[Operation[Any, Any]], session: Session, *, read_only: bool = False
) -> None:
    """A group for the first word of the names, a command for the rest. `read_only` hides what changes things."""
    groups: dict[str, typer.Typer] = {}
    for operation in catalog:
        if Interface.CLI in operation.hidden_from:
            continue
        if operation.domain not in groups:
            groups[operation.domain] = typer.Typer(
                no_args_is_help=True, help=f"Operations on {operation.domain}.", rich_markup_mode=None
            )
            app.add_typer(groups[operation.domain], name=operation.domain)
        groups[operation.domain].command(
            command_name(operation),
            help=operation.description,
            short_help=operation.summary,
            hidden=read_only and operation.effect is not Effect.READ,
        )(_command(operation, session))


def command_name(operation: Operation[Any, Any]) -> str:
    return operation.name.partition("_")[2].replace("_", "-")


def _command(operation: Operation[Any, Any], session: Session) -> Callable[..., None]:
    fields = {field.name: field for field in fields_of(operation)}

    def command(**given: Any) -> None:
        as_json, yes = given.pop("json"), given.pop("yes", False)
        typed = {name: value for name, value in given.items() if value not in (None, [])}

        async def work(application: "Application") -> Answer[Any]:
            try:
                arguments = {name: _argument(fields[name], value) for name, value in typed.items()}
            except ValidationFailed as error:
                await application.service.refuse(operation, caller(), error)
                raise
            if issubclass(operation.params, DestroyParams):
                return await _destroy(application, operation, arguments, session, yes=yes)
            return await application.service.submit(operation, arguments, caller())

        answer = session.run(work)
        _show(answer, as_json=as_json)
        if issubclass(operation.params, DestroyParams) and answer.result.status == "planned":
            typer.echo("Nothing was done. To carry out this plan, call again with --plan-token.", err=True)
            raise typer.Exit(REFUSED)

    parameters = [_parameter(field) for field in fields.values()]
    if issubclass(operation.params, DestroyParams):
        option = typer.Option("--yes", help="Do not ask again; only together with --plan-token.")
        parameters.append(_keyword("yes", bool, option, False))
    parameters.append(_keyword("json", bool, typer.Option("--json", help="The exact result, for programs."), False))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


async def _destroy(
    application: "Application",
    operation: Operation[Any, Any],
    arguments: dict[str, Any],
    session: Session,
    *,
    yes: bool,
) -> Answer[Any]:
    """Plan, show the plan, ask, carry it out. Where nobody can be asked, the plan or its token decides."""
    service = application.service
    token = arguments.get("plan_token")
    if yes and token is None:
        error = ValidationFailed(
            "--yes confirms a plan that was shown before, and none was named.",
            hint="Call without --yes, read the plan, then give its --plan-token.",
        )
        await service.refuse(operation, caller(), error)
        raise error
    if token is not None:
        if session.interactive() and not yes and not _yes("Carry out this plan?"):
            raise await service.decline(operation, arguments, token, caller(), "the user did not confirm it")
        return await service.submit(operation, arguments, caller())
    planned = await service.submit(operation, arguments, caller())
    plan = planned.result.plan
    if planned.result.status != "planned" or not session.interactive():
        return planned
    if not _agreed(plan):
        raise await service.decline(operation, arguments, plan.plan_token, caller(), "the user did not confirm it")
    return await service.submit(operation, {**arguments, "plan_token": plan.plan_token}, caller())


def _agreed(plan: Plan) -> bool:
    typer.echo(f"{plan.summary}\n" + "\n".join(f"  - {effect}" for effect in plan.effects), err=True)
    for line in plan.commands:
        typer.echo(f"  $ {line}", err=True)
    typer.echo("This can be undone." if plan.reversible else "This cannot be undone.", err=True)
    return _yes("Do it?")


def _yes(question: str) -> bool:
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:  # Ctrl-C or the end of the input is no yes
        typer.echo(err=True)
        return False


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
