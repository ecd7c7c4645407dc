"""Snapshots sent between real pools: whole, incrementally, raw, broken half-way, forced."""

import asyncio

import pytest

from infrastructor.errors import (
    Cancelled,
    CommandNotAvailable,
    Conflict,
    InfrastructorError,
    NotFound,
    Protected,
    ReadOnlyMode,
)
from infrastructor.protection import READ_ONLY
from tests.lab.zfs.lab import Lab

TO_VAULT = {"target_device": "vault"}


async def grown(lab: Lab, dataset: str, name: str, size: int = 2_000_000) -> str:
    """One more snapshot, with so many new bytes in it."""
    await lab.sh(f"head -c {size} /dev/urandom >'/{dataset}/{name}' && zfs snapshot '{dataset}@{name}'")
    return f"{dataset}@{name}"


def copy_of(dataset: str) -> str:
    return dataset.replace("tank/", "backup/")


async def assert_same(lab: Lab, dataset: str, name: str) -> None:
    """The very same files in both."""
    sums = []
    for one in (dataset, copy_of(dataset)):
        await lab.sh(f"zfs clone -o mountpoint=/look -o readonly=on '{one}@{name}' '{one} look'")
        try:
            sums.append(await lab.sh("cd /look && find . -type f -exec sha256sum {} + | sort"))
        finally:
            await lab.sh(f"zfs destroy '{one} look'")
    assert sums[0] == sums[1] != ""


@pytest.mark.parametrize(
    ("route", "how"),
    [("server", TO_VAULT), ("direct", TO_VAULT | {"direct": True}), ("local", {})],
    ids=["server", "direct", "local"],
)
async def test_whole_then_incrementally_then_not_at_all(
    lab: Lab, dataset: str, route: str, how: dict[str, object]
) -> None:
    first, target = await grown(lab, dataset, "s1"), copy_of(dataset)
    estimate = await lab.ask("zfs_snapshot_send", snapshot=first, target=target, dry_run=True, **how)
    assert (estimate.outcome, estimate.steps[0].kind) == ("estimated", "full")
    assert await lab.guids(target) == {}
    lab.progress.clear()
    sent = await lab.ask("zfs_snapshot_send", snapshot=first, target=target, **how)
    assert (sent.outcome, sent.route, sent.verified, sent.interruptions) == ("sent", route, True, 0)
    assert lab.progress
    if route == "server":  # zfs itself tells how far it is only once a second
        assert sent.sent_bytes > 5_000_000
        assert abs(sent.steps[0].estimated_bytes - sent.sent_bytes) < 0.2 * sent.sent_bytes
    assert await lab.guids(target) == await lab.guids(dataset)
    assert await lab.sh(f"zfs get -H -o value readonly,canmount,mounted '{target}'") == "on\nnoauto\nno\n"
    await assert_same(lab, dataset, "s1")

    await grown(lab, dataset, "s2")
    third = await grown(lab, dataset, "s3")
    sent = await lab.ask("zfs_snapshot_send", snapshot=third, target=target, intermediates=True, **how)
    assert [(step.kind, step.base) for step in sent.steps] == [("incremental", first)]
    assert await lab.guids(target) == await lab.guids(dataset)
    await assert_same(lab, dataset, "s3")
    again = await lab.ask("zfs_snapshot_send", snapshot=third, target=target, **how)
    assert (again.outcome, again.steps) == ("unchanged", [])


async def test_the_receiver_may_ask_too(lab: Lab, dataset: str) -> None:
    snapshot = await grown(lab, dataset, "s1")
    got = await lab.ask(
        "zfs_snapshot_receive", device="vault", dataset=copy_of(dataset), source_device="nas", snapshot=snapshot
    )
    assert (got.device, got.target_device, got.verified) == ("nas", "vault", True)
    assert await lab.guids(copy_of(dataset)) == await lab.guids(dataset)


async def test_the_newest_common_point_counts_by_guid_and_may_be_a_bookmark(lab: Lab, dataset: str) -> None:
    target = copy_of(dataset)
    await lab.ask("zfs_snapshot_send", snapshot=await grown(lab, dataset, "s1"), target=target, **TO_VAULT)
    # The one of the same name is another one; only a bookmark remembers the common one.
    await lab.sh(f"zfs bookmark '{dataset}@s1' '{dataset}#was' && zfs destroy '{dataset}@s1'")
    second = await grown(lab, dataset, "s2")
    sent = await lab.ask("zfs_snapshot_send", snapshot=second, target=target, **TO_VAULT)
    assert [(step.kind, step.base) for step in sent.steps] == [("incremental", f"{dataset}#was")]
    assert (await lab.guids(target))["s2"] == (await lab.guids(dataset))["s2"]


async def test_an_encrypted_one_goes_raw_without_its_key(lab: Lab, dataset: str) -> None:
    secret, target = f"{dataset} enc", f"{copy_of(dataset)} enc"
    await lab.sh(
        "head -c 32 /dev/urandom >/root/key && "
        f"zfs create -o encryption=on -o keyformat=raw -o keylocation=file:///root/key '{secret}'"
    )
    try:
        first = await grown(lab, secret, "s1")
        second = await grown(lab, secret, "s2")
        await lab.sh(f"zfs unmount '{secret}' && zfs unload-key '{secret}'")
        with pytest.raises(Conflict, match="key"):
            await lab.ask("zfs_snapshot_send", snapshot=first, target=target, raw=False, **TO_VAULT)
        for snapshot in (first, second):
            sent = await lab.ask("zfs_snapshot_send", snapshot=snapshot, target=target, **TO_VAULT)
            assert (sent.raw, sent.verified) == (True, True)
        assert await lab.sh(f"zfs get -H -o value keystatus '{target}'") == "unavailable\n"
        assert await lab.guids(target) == await lab.guids(secret)
        await lab.sh(f"zfs load-key -L file:///root/key '{target}'")
    finally:
        await lab.sh(f"zfs destroy -r '{secret}'; zfs destroy -r '{target}'", fails=True)


async def test_a_target_that_went_its_own_way_loses_nothing_by_sending(lab: Lab, dataset: str) -> None:
    target = copy_of(dataset)
    await lab.ask("zfs_snapshot_send", snapshot=await grown(lab, dataset, "s1"), target=target, **TO_VAULT)
    await lab.sh(f"zfs snapshot '{target}@own'")
    second = await grown(lab, dataset, "s2")
    with pytest.raises(Conflict, match="@own") as refused:
        await lab.ask("zfs_snapshot_send", snapshot=second, target=target, **TO_VAULT)
    assert "zfs_receive_force" in refused.value.hint
    forced = {"device": "vault", "dataset": target, "source_device": "nas", "snapshot": second}
    await lab.sh(f"zfs hold keep '{target}@own'")
    with pytest.raises(Protected, match="keep"):
        await lab.ask("zfs_receive_force", **forced)
    await lab.sh(f"zfs release keep '{target}@own'")
    planned = await lab.ask("zfs_receive_force", **forced)
    assert any(f"{target}@own" in effect for effect in planned.plan.effects)
    assert list(await lab.guids(target)) == ["s1", "own"]
    done = await lab.ask("zfs_receive_force", plan_token=planned.plan.plan_token, **forced)
    assert (done.destroyed, done.verified, done.steps[0].kind) == ([f"{target}@own"], True, "incremental")
    assert await lab.guids(target) == await lab.guids(dataset)


async def test_what_was_written_to_the_target_is_lost_only_by_force(lab: Lab, dataset: str) -> None:
    target = copy_of(dataset)
    await lab.ask("zfs_snapshot_send", snapshot=await grown(lab, dataset, "s1"), target=target, **TO_VAULT)
    await lab.sh(f"zfs set readonly=off '{target}' && zfs mount '{target}' && echo x >'/{target}/own' && sync")
    second = await grown(lab, dataset, "s2")
    with pytest.raises(Conflict, match="were written to it"):
        await lab.ask("zfs_snapshot_send", snapshot=second, target=target, **TO_VAULT)
    await lab.destroy("zfs_receive_force", device="vault", dataset=target, source_device="nas", snapshot=second)
    assert await lab.guids(target) == await lab.guids(dataset)
    await assert_same(lab, dataset, "s2")


async def test_a_target_with_nothing_in_common_is_written_over_by_force(lab: Lab, dataset: str) -> None:
    target, snapshot = copy_of(dataset), await grown(lab, dataset, "s1")
    await lab.sh(f"zfs create '{target}' && echo x >'/{target}/own' && zfs snapshot '{target}@own'")
    with pytest.raises(Conflict, match="none of its 1 snapshots"):
        await lab.ask("zfs_snapshot_send", snapshot=snapshot, target=target, **TO_VAULT)
    done = await lab.destroy(
        "zfs_receive_force", device="vault", dataset=target, source_device="nas", snapshot=snapshot
    )
    assert (done.destroyed, done.steps[0].kind) == ([f"{target}@own"], "full")
    assert await lab.guids(target) == await lab.guids(dataset)


# --- broken half-way -----------------------------------------------------------------------------------

SIZE = 60_000_000
SLOW = {"bytes_per_second": 4_000_000}


async def sessions(lab: Lab, port: int) -> str:
    """Process ids of the connections that came in at this port."""
    return await lab.sh(
        f"ss -Htnp state established '( sport = :{port} )' | grep -o 'pid=[0-9]*' | sort -u | tr -d pid="
    )


async def half_way(lab: Lab, sending: "asyncio.Task[object]") -> None:
    while not any(done > SIZE / 8 for done, _, _ in lab.progress):
        assert not sending.done(), sending
        await asyncio.sleep(0.2)


@pytest.mark.parametrize("port", [2222, 2223], ids=["source", "target"])
async def test_a_killed_connection_is_gone_on_with_by_itself(lab: Lab, dataset: str, port: int) -> None:
    snapshot, target = await grown(lab, dataset, "s1", SIZE), copy_of(dataset)
    lab.progress.clear()
    sending = asyncio.create_task(lab.ask("zfs_snapshot_send", snapshot=snapshot, target=target, **SLOW, **TO_VAULT))
    await half_way(lab, sending)
    # From a shell that does not hang on the connection which it kills.
    pids = (await sessions(lab, port)).split()
    assert pids
    await lab.sh(f"setsid sh -c 'sleep 2; kill -9 {' '.join(pids)}' >/dev/null 2>&1 </dev/null & sleep 1")
    sent = await sending
    assert sent.interruptions >= 1
    assert [step.kind for step in sent.steps] == ["full", "resume"]
    assert all(step.sent_bytes < SIZE for step in sent.steps)
    assert sent.sent_bytes < 1.5 * SIZE
    assert sent.verified
    assert await lab.guids(target) == await lab.guids(dataset)
    await assert_same(lab, dataset, "s1")


async def test_a_cancelled_one_is_gone_on_with_by_a_later_call(lab: Lab, dataset: str) -> None:
    snapshot, target = await grown(lab, dataset, "s1", SIZE), copy_of(dataset)
    lab.progress.clear()
    sending = asyncio.create_task(lab.ask("zfs_snapshot_send", snapshot=snapshot, target=target, **SLOW, **TO_VAULT))
    await half_way(lab, sending)
    running = next(run for run in lab.world.audit.begun[::-1] if run.operation == "zfs_snapshot_send")
    await lab.service.runs.stop(running.operation_id, "lab")
    with pytest.raises(Cancelled):
        await sending
    for _ in range(100):
        if not await lab.sh("pgrep -x zfs", fails=True):
            break
        await asyncio.sleep(0.5)
    assert await lab.sh("pgrep -ax zfs", fails=True) == ""

    (broken,) = (await lab.ask("zfs_receive_list", device="vault")).receives
    assert (broken.dataset, broken.snapshot) == (target, snapshot)
    assert broken.guid == (await lab.guids(dataset))["s1"]
    assert broken.received_bytes > SIZE / 16
    rest = await lab.ask("zfs_snapshot_receive", device="vault", dataset=target, source_device="nas")
    assert [step.kind for step in rest.steps] == ["resume"]
    assert rest.sent_bytes < SIZE
    assert rest.verified
    await assert_same(lab, dataset, "s1")


async def test_what_came_of_a_broken_one_can_be_thrown_away(lab: Lab, dataset: str) -> None:
    snapshot, target = await grown(lab, dataset, "s1"), copy_of(dataset)
    await lab.sh(f"zfs send '{snapshot}' | head -c 2000000 | zfs receive -s -u '{target}'", fails=True)
    planned = await lab.ask("zfs_receive_abort", device="vault", dataset=target)
    assert any("goes with it" in effect for effect in planned.plan.effects)
    done = await lab.ask("zfs_receive_abort", device="vault", dataset=target, plan_token=planned.plan.plan_token)
    assert done.dropped_bytes > 0
    assert (await lab.ask("zfs_receive_list", device="vault")).total == 0
    with pytest.raises(NotFound, match="waits for nothing"):
        await lab.ask("zfs_receive_abort", device="vault", dataset=target)


async def test_a_broken_one_whose_snapshot_is_gone_can_only_be_thrown_away(lab: Lab, dataset: str) -> None:
    snapshot, target = await grown(lab, dataset, "s1"), copy_of(dataset)
    await lab.sh(f"zfs send '{snapshot}' | head -c 2000000 | zfs receive -s -u '{target}'", fails=True)
    await lab.sh(f"zfs destroy '{snapshot}'")
    second = await grown(lab, dataset, "s2")
    with pytest.raises(Conflict, match="waits for the rest") as refused:
        await lab.ask("zfs_snapshot_send", snapshot=second, target=target, **TO_VAULT)
    assert "zfs_receive_abort" in refused.value.hint
    await lab.destroy("zfs_receive_abort", device="vault", dataset=target)
    assert (await lab.ask("zfs_snapshot_send", snapshot=second, target=target, **TO_VAULT)).verified


# --- who may -------------------------------------------------------------------------------------------


async def test_a_device_that_is_only_read_receives_nothing(lab: Lab, dataset: str) -> None:
    snapshot = await grown(lab, dataset, "s1")
    rows = lab.world.devices.rows
    rows["vault"] = rows["vault"].model_copy(update={"tags": {READ_ONLY: "true"}})
    try:
        with pytest.raises(ReadOnlyMode, match="vault"):
            await lab.ask("zfs_snapshot_send", snapshot=snapshot, target=copy_of(dataset), **TO_VAULT)
    finally:
        rows["vault"] = lab.vault
    assert await lab.guids(copy_of(dataset)) == {}


async def test_a_source_that_cannot_log_in_to_the_target_is_told_how(lab: Lab, dataset: str) -> None:
    snapshot = await grown(lab, dataset, "s1")
    await lab.sh("mv /root/.ssh/id_ed25519 /root/.ssh/away")
    try:
        with pytest.raises(CommandNotAvailable, match="nas cannot log in to vault as root") as refused:
            await lab.ask("zfs_snapshot_send", snapshot=snapshot, target=copy_of(dataset), direct=True, **TO_VAULT)
    finally:
        await lab.sh("mv /root/.ssh/away /root/.ssh/id_ed25519")
    assert "ssh-ed25519" in refused.value.hint
    assert "Without direct" in refused.value.hint


async def test_a_target_whose_key_is_another_gets_no_byte_directly(lab: Lab, dataset: str) -> None:
    """The source trusts the key that is pinned here, and no other."""
    snapshot = await grown(lab, dataset, "s1")
    key = await lab.sh("rm -f /root/other; ssh-keygen -q -t ed25519 -N '' -f /root/other; cat /root/other.pub")
    algorithm, public, *_ = key.split()
    other = lab.vault.host_keys[0].model_copy(update={"algorithm": algorithm, "public_key": public})
    rows = lab.world.devices.rows
    found = lab.service.ssh
    rows["vault"] = lab.vault.model_copy(update={"host_keys": (other,), "hostname": "vault"})
    try:
        with pytest.raises(InfrastructorError) as refused:
            await lab.ask("zfs_snapshot_send", snapshot=snapshot, target=copy_of(dataset), direct=True, **TO_VAULT)
    finally:
        rows["vault"] = lab.vault
        await found.forget(lab.vault.id)
    assert refused.value.code in {"host_key_mismatch", "command_not_available"}
    assert await lab.guids(copy_of(dataset)) == {}


async def test_a_name_is_no_shell_text(lab: Lab, dataset: str) -> None:
    """Both ways, through both shells of the direct one."""
    for target in (f"{copy_of(dataset)} -F", f"{copy_of(dataset)}: a.b_c-d"):
        snapshot = await grown(lab, dataset, f"{target[-3:].strip()}.x")
        for how in ({}, TO_VAULT | {"direct": True}):
            sent = await lab.ask("zfs_snapshot_send", snapshot=snapshot, target=f"{target} {len(how)}", **how)
            assert sent.verified
