"""Transfers with a limit, of volumes, by way of a jump host, and by a login that is no root."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from infrastructor.catalog import CATALOG
from infrastructor.errors import InfrastructorError
from infrastructor.reference import sudoers_file
from tests.lab.zfs.lab import Lab

SIZE, LIMIT = 6_000_000, 1_000_000
TO_VAULT = {"target_device": "vault"}
RULES = "/etc/sudoers.d/infrastructor"


async def grown(lab: Lab, dataset: str, name: str, size: int = 1_000_000) -> str:
    await lab.sh(f"head -c {size} /dev/urandom >'/{dataset}/{name}' && zfs snapshot '{dataset}@{name}'")
    return f"{dataset}@{name}"


def copy_of(dataset: str) -> str:
    return dataset.replace("tank/", "backup/")


def node_of(volume: str) -> str:
    """Udev writes a plus for a blank."""
    return f"/dev/zvol/{volume}".replace(" ", "+")


@asynccontextmanager
async def without(lab: Lab, *programs: str) -> AsyncIterator[None]:
    """These are not installed meanwhile."""
    paths = [f"/usr/bin/{program}" for program in programs]
    await lab.sh("; ".join(["true", *(f"mv {path} {path}.away" for path in paths)]))
    try:
        yield
    finally:
        await lab.sh("; ".join(["true", *(f"mv {path}.away {path}" for path in paths)]))


@pytest.mark.parametrize("missing", ["mbuffer", "pv"])
async def test_a_limit_is_kept_by_either_program(lab: Lab, dataset: str, missing: str) -> None:
    snapshot = await grown(lab, dataset, "s1", SIZE)
    async with without(lab, missing):
        for how in ({}, TO_VAULT | {"direct": True}):
            target = f"{copy_of(dataset)} {len(how)}"
            sent = await lab.ask("zfs_snapshot_send", snapshot=snapshot, target=target, bytes_per_second=LIMIT, **how)
            assert (sent.verified, sent.route) == (True, "direct" if how else "local")
            # What they take at once, before they begin to wait, is little.
            assert sent.steps[0].duration_seconds > 0.5 * SIZE / LIMIT
            assert await lab.guids(target) == await lab.guids(dataset)


async def test_a_limit_needs_a_program_only_where_the_stream_does_not_pass_here(lab: Lab, dataset: str) -> None:
    snapshot = await grown(lab, dataset, "s1", SIZE)
    async with without(lab, "pv", "mbuffer"):
        with pytest.raises(InfrastructorError) as refused:
            await lab.ask("zfs_snapshot_send", snapshot=snapshot, target=copy_of(dataset), bytes_per_second=LIMIT)
        assert "neither pv nor mbuffer is installed" in refused.value.message
        assert await lab.guids(copy_of(dataset)) == {}
        sent = await lab.ask(
            "zfs_snapshot_send", snapshot=snapshot, target=copy_of(dataset), bytes_per_second=LIMIT, **TO_VAULT
        )
    assert sent.verified
    assert sent.steps[0].duration_seconds > 0.5 * SIZE / LIMIT


@pytest.mark.parametrize("sparse", ["", "-s"], ids=["reserved", "sparse"])
async def test_a_volume_goes_whole_incrementally_and_back(lab: Lab, dataset: str, sparse: str) -> None:
    volume = f"{dataset}/a volume"
    target = f"{copy_of(dataset)} volume"
    await lab.sh(f"zfs create {sparse} -V 16M '{volume}'; udevadm settle")

    async def write(seek: int) -> str:
        """Change some of it, and tell what it holds now."""
        node = f"$(readlink -f {node_of(volume)})"
        await lab.sh(f"dd if=/dev/urandom of={node} bs=1M count=2 seek={seek} conv=notrunc,fsync 2>/dev/null")
        return await lab.sh(f"sha256sum <{node}")

    async def copied() -> str:
        return await lab.sh(f"udevadm settle; sha256sum <$(readlink -f {node_of(target)})")

    sums = []
    for number, how in enumerate((TO_VAULT, TO_VAULT | {"direct": True}, {})):
        sums.append(await write(4 * number))
        await lab.sh(f"zfs snapshot '{volume}@v{number}'")
        sent = await lab.ask("zfs_snapshot_send", snapshot=f"{volume}@v{number}", target=target, **how)
        assert (sent.verified, sent.steps[0].kind) == (True, "incremental" if number else "full")
        assert await copied() == sums[-1]
    assert await lab.guids(target) == await lab.guids(volume)
    assert await lab.sh(f"zfs get -H -o value type,readonly '{target}'") == "volume\non\n"
    for one, snapshot in ((target, f"{target}@v1"), (volume, f"{volume}@v1")):
        await lab.destroy("zfs_snapshot_rollback", snapshot=snapshot, destroy_newer=True)
        assert list(await lab.guids(one)) == ["v0", "v1"]
    assert await copied() == sums[1]
    listed = await lab.ask("zfs_dataset_list", dataset=volume, type="volume", force_refresh=True)
    assert [(one.type, one.volume_bytes) for one in listed.datasets] == [("volume", 16 << 20)]
    await lab.sh(f"zfs destroy -r '{target}'")


async def test_a_device_behind_another_gives_and_gets(lab: Lab, dataset: str) -> None:
    snapshot, target = await grown(lab, dataset, "s1"), copy_of(dataset)
    for how in ({}, {"direct": True}):
        sent = await lab.ask("zfs_snapshot_send", snapshot=snapshot, target=target, target_device="behind", **how)
        assert (sent.verified, sent.target_device) == (True, "behind")
        assert sent.outcome == ("unchanged" if how else "sent")
    second = await grown(lab, dataset, "s2")
    sent = await lab.ask("zfs_snapshot_send", snapshot=second, target=target, target_device="behind", direct=True)
    assert (sent.verified, sent.route) == (True, "direct")
    back = f"{dataset} back"
    got = await lab.ask("zfs_snapshot_receive", dataset=back, source_device="behind", snapshot=f"{target}@s2")
    assert (got.verified, got.device) == (True, "behind")
    assert (await lab.guids(back))["s2"] == (await lab.guids(dataset))["s2"]
    await lab.sh(f"zfs destroy -r '{back}'")


# --- logins that are no root -----------------------------------------------------------------------------


@asynccontextmanager
async def sudo(lab: Lab, rules: str) -> AsyncIterator[None]:
    """The login `plain` has these rules."""
    await lab.sh(f"cat >{RULES} <<'END'\n{rules}END\nchmod 440 {RULES}; visudo -cf {RULES}")
    await lab.client.forget(lab.plain.id)
    try:
        yield
    finally:
        await lab.sh(f"rm {RULES}")
        await lab.client.forget(lab.plain.id)


@pytest.mark.parametrize("rules", ["all", "printed"])
async def test_a_login_with_sudo_does_all_that_root_does(lab: Lab, dataset: str, rules: str) -> None:
    text = "plain ALL=(root) NOPASSWD: ALL\n" if rules == "all" else sudoers_file(CATALOG, "plain")
    own = f"tank/own-{rules}"
    target = copy_of(own)
    await lab.sh(f"zfs create {own}; head -c 1000000 /dev/urandom >/{own}/f; chmod 700 /{own}")
    async with sudo(lab, text):
        assert (await lab.client.capabilities(lab.plain)).sudo == {"all": "nopasswd", "printed": "limited"}[rules]
        taken = await lab.ask("zfs_snapshot_create", device="plain", dataset=own, name="s1", recursive=True, hold="k")
        assert (taken.total, taken.hold) == (1, "k")
        await lab.sh(f"echo new >/{own}/new; zpool sync")
        changed = await lab.ask("zfs_snapshot_diff", device="plain", snapshot=f"{own}@s1", force_refresh=True)
        assert f"/{own}/new" in [one.path for one in changed.changes]
        assert (await lab.ask("zfs_event_list", device="plain")).source == "device"
        sent = await lab.ask("zfs_snapshot_send", device="plain", snapshot=f"{own}@s1", target=target, **TO_VAULT)
        assert (sent.verified, sent.route) == (True, "server")
        await lab.ask("zfs_snapshot_create", device="plain", dataset=own, name="s2")
        sent = await lab.ask("zfs_snapshot_send", device="plain", snapshot=f"{own}@s2", target=target)
        assert (sent.verified, sent.route, sent.steps[0].kind) == (True, "local", "incremental")
        back = await lab.ask(
            "zfs_snapshot_receive", device="plain", dataset=f"{own}-back", source_device="vault",
            snapshot=f"{target}@s1",
        )  # fmt: skip
        assert back.verified
        await lab.ask("zfs_scrub", device="plain", pool="tank")
        await lab.sh(f"zpool wait -t scrub tank; zfs release k {own}@s1")
        for operation, arguments in (
            ("zfs_snapshot_rollback", {"snapshot": f"{own}@s1", "destroy_newer": True}),
            ("zfs_snapshot_destroy", {"snapshots": f"{own}@s1"}),
        ):
            await lab.destroy(operation, device="plain", **arguments)
        assert await lab.guids(own) == {}
        if rules == "printed":  # the rules allow values without blanks alone
            with pytest.raises(InfrastructorError) as refused:
                await lab.ask("zfs_snapshot_create", device="plain", dataset=dataset, name="s1")
            assert refused.value.code in {"command_not_available", "zfs_forbidden"}
            assert "sudo" in f"{refused.value.message} {refused.value.hint}"
    await lab.sh(f"zfs destroy -r {own}; zfs destroy -r {target}; zfs destroy -r {own}-back")


async def test_a_login_that_was_allowed_by_zfs_itself(lab: Lab, dataset: str) -> None:
    target, place = f"{copy_of(dataset)} allowed", f"{copy_of(dataset)} allowed/it"
    await lab.sh(
        f"zfs create -o mountpoint=none '{target}' && zfs allow plain send,snapshot,mount,hold '{dataset}' && "
        f"zfs allow plain receive,create,mount,readonly,canmount '{target}'"
    )
    taken = await lab.ask("zfs_snapshot_create", device="plain", dataset=dataset, name="s1", hold="k")
    assert (taken.total, taken.hold) == (1, "k")
    for number, how in enumerate(({}, TO_VAULT)):
        if number:
            await lab.ask("zfs_snapshot_create", device="plain", dataset=dataset, name="s2")
        sent = await lab.ask(
            "zfs_snapshot_send", device="plain", snapshot=f"{dataset}@s{number + 1}", target=place, **how
        )
        assert (sent.verified, sent.route) == (True, "server" if how else "local")
    assert await lab.guids(place) == await lab.guids(dataset)
    with pytest.raises(InfrastructorError) as refused:
        await lab.destroy("zfs_snapshot_destroy", device="plain", snapshots=f"{dataset}@s2")
    assert refused.value.code in {"command_failed", "zfs_forbidden"}
    assert list(await lab.guids(dataset)) == ["s1", "s2"]
    await lab.sh(f"zfs release k '{dataset}@s1'; zfs destroy -r '{target}'")


@pytest.mark.parametrize("state", ["closed", "missing"])
async def test_a_device_file_that_is_closed_or_missing_is_told(lab: Lab, state: str) -> None:
    change, back = {
        "closed": ("chmod 600 /dev/zfs", "chmod 666 /dev/zfs"),
        "missing": ("mv /dev/zfs /dev/zfs.away", "mv /dev/zfs.away /dev/zfs"),
    }[state]
    await lab.sh(change)
    try:
        for operation, arguments in (("zfs_pool_list", {}), ("zfs_dataset_list", {}), ("zfs_health_check", {})):
            with pytest.raises(InfrastructorError) as refused:
                await lab.ask(operation, device="plain", force_refresh=True, **arguments)
            assert refused.value.code == "zfs_forbidden"
            words = {"closed": "may not open /dev/zfs", "missing": "container"}[state]
            assert words in refused.value.message
    finally:
        await lab.sh(back)
    assert (await lab.ask("zfs_pool_list", device="plain", force_refresh=True)).total >= 2


async def test_what_only_root_may_is_told_to_others(lab: Lab, dataset: str) -> None:
    await lab.sh(f"zfs snapshot '{dataset}@s1'")
    for operation, arguments in (
        ("zfs_event_list", {}),
        ("zfs_snapshot_diff", {"snapshot": f"{dataset}@s1"}),
    ):
        with pytest.raises(InfrastructorError) as refused:
            await lab.ask(operation, device="plain", **arguments)
        assert (operation, refused.value.code) == (operation, "zfs_forbidden")
    with pytest.raises(InfrastructorError) as refused:
        await lab.ask("zfs_scrub", device="plain", pool="tank")
    assert refused.value.code in {"command_failed", "zfs_forbidden"}
    report = await lab.ask("zfs_report", device="plain", force_refresh=True)
    assert {one.name for one in report.pools} >= {"tank", "backup"}
    assert any("events" in one for one in report.missing)
