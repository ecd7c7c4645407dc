"""The containers a device has now, by its engine's API or its program."""

from collections.abc import Sequence

from infrastructor.container_store import ContainerState
from infrastructor.domains.containers.change_operations import CHANGED
from infrastructor.domains.containers.queries import QueryContainers
from infrastructor.domains.containers.record import state_of
from infrastructor.engine import check_reply
from infrastructor.errors import CommandFailed, EngineUnavailable
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import SSHClient

CONTAINER_ANSWERS = CHANGED
"""Whose answers an event of a container makes untrue: those that our own changes make untrue."""


async def list_containers(ssh: SSHClient, device: Device) -> Sequence[ContainerState]:
    """Raises what `ask_engine` and `execute_command` raise, and `CommandFailed`."""
    query = QueryContainers()
    try:
        reply = await ssh.ask_engine(device, query.render())
    except EngineUnavailable:
        command = query.command().variant(await ssh.capabilities(device))
        output = await ssh.execute_command(device, command.render())
        if output.exit_status != 0:
            said = output.error_text[:300] or "nothing"
            raise CommandFailed(f"{command.needs} on {device.hostname} said: {said}") from None
        return [state_of(row) for row in command.parse(output)]
    check_reply(query, reply, device)
    return [state_of(row) for row in query.parse(reply)]
