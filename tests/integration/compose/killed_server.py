"""A server of its own that deploys one stack: for tests that kill it. Arguments come as JSON on stdin."""

import asyncio
import json
import sys

from infrastructor.ports.devices import Device
from infrastructor.ssh import AsyncSSHClient
from infrastructor.storage.deployments import PostgresDeploymentStore
from infrastructor.storage.pool import Database
from tests.support.containers import Host
from tests.support.sshd import Registry, settings


async def main() -> None:
    asked = json.load(sys.stdin)
    database = await Database.connect(asked["dsn"])
    client = AsyncSSHClient(settings(), Registry().find)
    host = Host(client, Device.model_validate(asked["device"]), None)
    host.service.deployments = PostgresDeploymentStore(database)
    print("ready", flush=True)
    try:
        done = await host.ask("compose_deploy", **asked["arguments"])
        print(done.outcome, flush=True)
    finally:
        await client.close()
        await database.close()


asyncio.run(main())
