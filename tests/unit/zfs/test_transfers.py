"""Transfers over a replay of recordings: what is sent where, what is on record, and what follows when it breaks."""

from typing import Any

import pytest

from infrastructor.catalog import CATALOG
from infrastructor.domains.zfs import transfer
from infrastructor.errors import CommandFailed, Conflict, DeviceNotFound, OutcomeUnknown, ReadOnlyMode, ValidationFailed
from infrastructor.ports.callers import Caller, Effect, Interface, Role
from infrastructor.ports.ssh import CommandOutput
from infrastructor.protection import READ_ONLY
from tests.doors.world import World
from tests.fakes import FakeDevices, device
from tests.support import zfs

CALLER = Caller(principal="anna", role=Role.OPERATOR, interface=Interface.REST)
SEND = {"device": "nas", "snapshot": zfs.WANTED, "target": zfs.TARGET, "target_device": "vault"}
STREAM = CommandOutput(exit_status=0, stdout=b"s" * 1000)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(transfer, "WAITS_S", (0.0, 0.0, 0.0))
    made = World(operations=CATALOG, devices=FakeDevices(device("nas"), device("vault")))
    made.ssh.outputs = {
        zfs.at(zfs.SOURCE): zfs.SOURCE_REPLICA,
        zfs.at(zfs.TARGET): zfs.RECEIVED,
        "zfs send": STREAM,
        "zfs send -n": zfs.recorded("EstimateStream"),
        f"zfs send -n -v -P -t{zfs.TOKEN}": zfs.recorded("ReadToken"),
    }
    made.ssh.after = {"zfs receive": {zfs.at(zfs.TARGET): zfs.COMPLETE}}
    return made


async def ask(world: World, operation: str, **arguments: Any) -> Any:
    service = world.application().service
    return (await service.submit(service.operation(operation), arguments, CALLER)).result


def changes(world: World) -> list[tuple[str, str]]:
    """What was sent that changes or streams something."""
    verbs = ("zfs send -L", "zfs send -t", "zfs receive")
    return [(name, text) for name, text in world.ssh.sent if text.startswith(verbs)]


async def test_it_is_piped_from_device_to_device_and_both_are_on_record(world: World) -> None:
    sent = await ask(world, "zfs_snapshot_send", **SEND)
    lines = [
        ("nas", "zfs send -L -c -e -itank/data@s1 -- tank/data@s3"),
        ("vault", "zfs receive -s -u -- backup/nas/data"),
    ]
    assert changes(world) == lines
    assert (sent.outcome, sent.route, sent.sent_bytes, sent.verified) == ("sent", "server", 1000, True)
    assert sent.guid == zfs.WANTED_GUID
    (record,) = world.records
    assert (record.outcome, record.device) == ("ok", "nas")
    assert [lines[0][1], f"on vault: {lines[1][1]}"] == [
        line for line in record.commands if "zfs send -L" in line or "zfs receive" in line
    ]
    assert [record.commands[place] for place in record.changes] == [f"on vault: {lines[1][1]}"]


async def test_a_new_target_is_read_only_and_never_mounted_by_itself(world: World) -> None:
    world.ssh.outputs[zfs.at(zfs.TARGET)] = zfs.NO_REPLICA
    sent = await ask(world, "zfs_snapshot_send", **SEND)
    assert changes(world)[1][1] == "zfs receive -s -u -oreadonly=on -ocanmount=noauto -- backup/nas/data"
    assert sent.steps[0].kind == "full"


async def test_an_estimate_sends_nothing(world: World) -> None:
    found = await ask(world, "zfs_snapshot_send", **SEND, dry_run=True)
    assert changes(world) == []
    size = int(zfs.recorded("EstimateStream").text.split("size\t")[1])
    assert (found.outcome, found.steps[0].estimated_bytes, found.sent_bytes) == ("estimated", size, None)


async def test_what_is_there_already_is_not_sent_again(world: World) -> None:
    world.ssh.outputs[zfs.at(zfs.TARGET)] = zfs.COMPLETE
    assert (await ask(world, "zfs_snapshot_send", **SEND)).outcome == "unchanged"
    assert changes(world) == []


async def test_a_broken_one_goes_on_from_its_token(world: World) -> None:
    world.ssh.outputs["zfs send -L"] = OutcomeUnknown("nas was lost.")
    world.ssh.after = {
        "zfs send -L": {zfs.at(zfs.TARGET): zfs.INTERRUPTED},
        "zfs receive": {zfs.at(zfs.TARGET): zfs.COMPLETE},
    }
    sent = await ask(world, "zfs_snapshot_send", **SEND)
    assert [text[:12] for _, text in changes(world)] == ["zfs send -L ", "zfs send -t1", "zfs receive "]
    assert ([step.kind for step in sent.steps], sent.interruptions) == (["incremental", "resume"], 1)


async def test_it_is_not_tried_for_ever(world: World) -> None:
    world.ssh.outputs["zfs send -L"] = OutcomeUnknown("nas was lost.")
    with pytest.raises(OutcomeUnknown, match="nas was lost"):
        await ask(world, "zfs_snapshot_send", **SEND)
    assert len(changes(world)) == len(transfer.WAITS_S) + 1
    assert world.records[0].outcome == "unknown"


async def test_what_zfs_refuses_is_not_tried_again(world: World) -> None:
    world.ssh.outputs["zfs receive"] = CommandFailed("zfs on vault ended with status 1.", side="sink", exit_status=1)
    world.ssh.after = {}
    with pytest.raises(CommandFailed, match="on vault"):
        await ask(world, "zfs_snapshot_send", **SEND)
    assert len(changes(world)) == 2


async def test_streams_that_lead_nowhere_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "MOST_STREAMS", 3)
    world.ssh.after = {}
    with pytest.raises(OutcomeUnknown, match="after 4 streams"):
        await ask(world, "zfs_snapshot_send", **SEND)


async def test_the_receiver_asks_and_the_source_may_be_only_read(world: World) -> None:
    world.devices.rows["nas"] = world.devices.rows["nas"].model_copy(update={"tags": {READ_ONLY: "true"}})
    arguments = {"device": "vault", "dataset": zfs.TARGET, "source_device": "nas"}
    got = await ask(world, "zfs_snapshot_receive", **arguments, snapshot=zfs.WANTED)
    assert (got.device, got.target_device, got.verified) == ("nas", "vault", True)
    with pytest.raises(ReadOnlyMode, match="nas"):
        await ask(world, "zfs_snapshot_send", **SEND)


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_target_that_is_only_read_gets_nothing(world: World, dry_run: bool) -> None:
    world.devices.rows["vault"] = world.devices.rows["vault"].model_copy(update={"tags": {READ_ONLY: "yes"}})
    with pytest.raises(ReadOnlyMode, match="vault"):
        await ask(world, "zfs_snapshot_send", **SEND, dry_run=dry_run)
    assert world.ssh.sent == []


async def test_the_rest_of_a_broken_one_is_found_by_its_token_alone(world: World) -> None:
    world.ssh.outputs[zfs.at(zfs.TARGET)] = zfs.INTERRUPTED
    arguments = {"device": "vault", "dataset": zfs.TARGET, "source_device": "nas"}
    world.ssh.after = {
        "zfs receive": {zfs.at(zfs.TARGET): zfs.edited(zfs.COMPLETE, (zfs.WANTED_GUID, zfs.SECOND_GUID))}
    }
    got = await ask(world, "zfs_snapshot_receive", **arguments)
    assert (got.snapshot, [step.kind for step in got.steps]) == ("tank/data@s2", ["resume"])


async def test_the_answers_from_before_are_given_on_neither_device_afterwards(world: World) -> None:
    world.ssh.outputs["zfs list"] = CommandOutput(exit_status=0, stdout=b"")
    service = world.application().service
    outdated = []
    original = service.outdate

    async def note(device_id: Any, data_types: Any) -> None:
        outdated.append(device_id)
        await original(device_id, data_types)

    service.outdate = note  # type: ignore[method-assign]
    await service.submit(service.operation("zfs_snapshot_send"), SEND, CALLER)
    assert set(outdated) == {world.devices.rows["nas"].id, world.devices.rows["vault"].id}


async def test_it_is_within_one_device_without_another(world: World) -> None:
    world.ssh.after = {"set -- 'zfs send": {zfs.at(zfs.TARGET): zfs.COMPLETE}}
    world.ssh.outputs["set -- 'zfs send"] = zfs.recorded("StreamLocally")
    sent = await ask(world, "zfs_snapshot_send", **{**SEND, "target_device": "nas"})
    (text,) = [text for _, text in world.ssh.sent if text.startswith("set -- 'zfs send")]
    assert "'zfs receive -s -u -- backup/nas/data'" in text
    assert (sent.route, sent.verified) == ("local", True)


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"target_device": "nobody"}, DeviceNotFound),
        ({"target": zfs.SOURCE, "target_device": "nas"}, ValidationFailed),
        ({"base": "@s2"}, Conflict),
        ({"snapshot": "tank/data"}, ValidationFailed),
        ({"base": "-R"}, ValidationFailed),
        ({"target": "-F"}, ValidationFailed),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_sent(
    world: World, more: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await ask(world, "zfs_snapshot_send", **{**SEND, **more})
    assert changes(world) == []


def test_what_loses_data_is_not_what_sends() -> None:
    effects = {operation.name: operation.effect for operation in CATALOG if operation.domain == "zfs"}
    changing = {"create", "clone", "send", "receive"}
    assert {effects[f"zfs_snapshot_{name}"] for name in changing} | {effects["zfs_scrub"]} == {Effect.CHANGE}
    losing = {"zfs_snapshot_destroy", "zfs_snapshot_rollback", "zfs_receive_force", "zfs_receive_abort"}
    assert {effects[name] for name in losing} == {Effect.DESTROY}
