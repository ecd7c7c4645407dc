"""Proxies switched on and off for real: nginx judges, loads, and what it refuses is as it was."""

import asyncio
from typing import Any

import pytest

from infrastructor.errors import Cancelled, CommandFailed, Conflict, InfrastructorError, ValidationFailed
from tests.fake_history import fake_history
from tests.integration.proxies.conftest import NETWORK, Swag
from tests.support.sshd import Sshd
from tests.support.swag import subdomain, subfolder
from tests.support.wait import until

pytestmark = [pytest.mark.xdist_group("docker"), pytest.mark.timeout(180)]


def names(swag: Swag) -> set[str]:
    return {path.name for path in swag.confs.iterdir() if not path.name.endswith((".sample", "README"))}


async def test_a_sample_is_enabled_answers_and_is_disabled_again(swag: Swag) -> None:
    swag.serve("sonarr", 8989)
    sample = swag.confs / "sonarr.subdomain.conf.sample"
    sample.chmod(0o640)

    done = await swag.ask("proxy_config_enable", service="sonarr.subdomain")

    assert (done.changed, done.reloaded, done.state, done.problems, done.nginx) == (True, True, "enabled", [], [])
    enabled = swag.confs / "sonarr.subdomain.conf"
    assert enabled.read_bytes() == sample.read_bytes()
    assert enabled.stat().st_mode & 0o777 == 0o640
    await until(lambda: swag.get("sonarr.example.test") == (200, "sonarr\n"))

    again = await swag.ask("proxy_config_enable", service="sonarr")
    assert (again.changed, again.message) == (False, "sonarr.subdomain is enabled already, just so; nothing was done.")

    off = await swag.ask("proxy_config_disable", service="sonarr")
    assert (off.changed, off.reloaded, names(swag)) == (True, True, {"sonarr.subdomain.conf.disabled"})
    await until(lambda: swag.get("sonarr.example.test")[0] != 200)

    on = await swag.ask("proxy_config_enable", service="sonarr.subdomain")
    assert (on.changed, names(swag)) == (True, {"sonarr.subdomain.conf"})
    assert "rename from" in on.diff


async def test_a_dry_run_changes_nothing(swag: Swag) -> None:
    shown = await swag.ask("proxy_config_enable", service="radarr", auth="authelia", dry_run=True)
    assert (shown.changed, shown.reloaded, names(swag)) == (False, False, set())
    assert "+    include /config/nginx/authelia-server.conf;" in shown.diff
    assert not any("WriteFile" in line for line in swag.host.commands)


@pytest.mark.parametrize("auth", ["ldap", "authelia", "authentik", "tinyauth", "basic"])
async def test_a_login_is_turned_on_and_off_to_the_byte(swag: Swag, auth: str) -> None:
    swag.serve("sonarr", 8989)
    path = swag.enable("sonarr.subdomain")
    before, inode = path.read_bytes(), path.stat()

    await swag.ask("proxy_config_enable", service="sonarr.subdomain", auth=auth)
    await until(lambda: swag.get("sonarr.example.test")[0] == (401 if auth == "basic" else 500))
    found = await swag.ask("proxy_config_get", service="sonarr.subdomain")
    assert [location.auth for server in found.servers for location in server.locations] == [[auth]]
    assert (path.stat().st_mode, path.stat().st_uid) == (inode.st_mode, inode.st_uid)

    await swag.ask("proxy_config_enable", service="sonarr.subdomain", auth="none")
    assert path.read_bytes() == before
    await until(lambda: swag.get("sonarr.example.test")[0] == 200)


async def test_both_halves_of_a_subfolders_login_are_turned_on_together(swag: Swag) -> None:
    site = swag.nginx / "site-confs/default.conf"
    before = site.read_text()
    done = await swag.ask("proxy_config_enable", service="sonarr.subfolder", auth="authelia")
    assert done.files == [str(site), str(swag.confs / "sonarr.subfolder.conf")]
    assert site.read_text() == before.replace(
        "#include /config/nginx/authelia-server", "include /config/nginx/authelia-server"
    )
    assert done.problems[0].code == "upstream_missing"
    found = await swag.ask("proxy_config_get", service="sonarr.subfolder")
    assert [(one.match, one.auth) for one in found.servers[0].locations] == [
        *(("^~ /sonarr", ["authelia"]), ("^~ /sonarr/api", [])),
    ]


async def test_what_nginx_refuses_is_taken_back(swag: Swag) -> None:
    broken = subdomain("grafana", 3000, extra="        proxy_nonsense on;\n")
    (swag.confs / "grafana.subdomain.conf.sample").write_text(broken)
    site = (swag.nginx / "site-confs/default.conf").read_bytes()

    with pytest.raises(
        CommandFailed, match=r'unknown directive "proxy_nonsense".*grafana.subdomain.conf, line \d+'
    ) as told:
        await swag.ask("proxy_config_enable", service="grafana")

    assert told.value.details["line"] == broken[: broken.index("proxy_nonsense")].count("\n") + 1
    assert names(swag) == set()
    assert (swag.nginx / "site-confs/default.conf").read_bytes() == site
    assert [line.split()[0] for line in swag.host.commands[-2:]] == ["docker", "JudgedChange"]
    assert swag.get("other.example.test", "/alive") == (200, "alive\n")


@pytest.fixture
def slow_nginx(swag: Swag) -> None:
    """Its tests take a while, so that something can happen meanwhile."""
    script = '#!/bin/sh\nsleep 2\nexec /usr/sbin/nginx.real "$@"\n'
    move = f"busybox mv /usr/sbin/nginx /usr/sbin/nginx.real; printf '{script}' >/usr/sbin/nginx"
    swag.host.engine.docker("exec", "swag", "sh", "-c", f"{move}; busybox chmod 755 /usr/sbin/nginx")


async def written(swag: Swag) -> "asyncio.Task[Any]":
    """Enabling what nginx refuses, at the moment when the file is there and nobody has judged it."""
    broken = subdomain("grafana", 3000, extra="        proxy_nonsense on;\n")
    (swag.confs / "grafana.subdomain.conf.sample").write_text(broken)
    task = asyncio.create_task(swag.ask("proxy_config_enable", service="grafana"))
    await until(lambda: names(swag), 20)
    return task


@pytest.mark.usefixtures("slow_nginx")
async def test_a_server_that_ends_in_the_middle_leaves_nothing_unjudged(swag: Swag) -> None:
    """What it began goes on on the device, which puts the file back by itself."""
    task = await written(swag)
    await swag.host.client.close()
    with pytest.raises(InfrastructorError):
        await task
    await until(lambda: names(swag) == set(), 20)


@pytest.mark.usefixtures("slow_nginx")
async def test_a_lost_connection_loses_no_judgement(swag: Swag, docker_host: Sshd) -> None:
    task = await written(swag)
    docker_host.kill_sessions()
    with pytest.raises(CommandFailed, match="proxy_nonsense"):
        await task
    assert names(swag) == set()


@pytest.mark.usefixtures("slow_nginx")
async def test_what_is_stopped_in_the_middle_is_put_back(swag: Swag) -> None:
    task = await written(swag)
    service = swag.host.service
    (running,) = service.runs._running
    await service.submit(service.operation("operation_cancel"), {"operation_id": str(running)}, swag.host.admin)
    with pytest.raises(Cancelled):
        await task
    await until(lambda: names(swag) == set(), 20)


async def test_an_edit_that_nginx_refuses_leaves_the_file_as_it_was(swag: Swag) -> None:
    path = swag.enable("sonarr.subdomain")
    before = path.read_bytes()
    (swag.nginx / "ldap-location.conf").write_text("auth_request_nonsense on;\n")
    with pytest.raises(CommandFailed, match="auth_request_nonsense"):
        await swag.ask("proxy_config_enable", service="sonarr.subdomain", auth="ldap")
    assert path.read_bytes() == before


async def test_a_name_that_another_server_has_is_refused_though_nginx_only_warns(swag: Swag) -> None:
    swag.enable("sonarr.subdomain")
    (swag.confs / "tv.subdomain.conf.sample").write_text(subdomain("sonarr", 9999))
    with pytest.raises(CommandFailed, match=r'conflicting server name "sonarr.\*".*put back'):
        await swag.ask("proxy_config_enable", service="tv")
    assert names(swag) == {"sonarr.subdomain.conf"}


async def test_nothing_is_done_while_nginx_refuses_something_else(swag: Swag) -> None:
    swag.enable("radarr.subdomain", "server {\n  listen 443 ssl;\n")
    with pytest.raises(Conflict, match="refuses its configuration as it is"):
        await swag.ask("proxy_config_enable", service="sonarr.subdomain")
    assert names(swag) == {"radarr.subdomain.conf"}
    # But the one it refuses may be taken away.
    await swag.ask("proxy_config_disable", service="radarr")
    assert names(swag) == {"radarr.subdomain.conf.disabled"}


async def test_nothing_is_done_while_swag_does_not_run(swag: Swag) -> None:
    swag.host.engine.docker("stop", "-t", "0", "swag")
    with pytest.raises(Conflict, match="swag on nas is exited"):
        await swag.ask("proxy_config_enable", service="sonarr.subdomain")
    assert names(swag) == set()


async def test_a_proxy_is_made_for_a_container_without_a_sample(swag: Swag) -> None:
    swag.serve("wiki", 8080, "--network", NETWORK, "--expose", "8080")
    shown = await swag.ask("proxy_config_generate", service="docs", upstream="wiki")
    assert (shown.source, "wiki exposes only 8080." in shown.notes, names(swag)) == ("builtin", True, set())

    done = await swag.ask("proxy_config_create", service="docs", upstream="wiki")
    assert (done.changed, done.problems) == (True, [])
    assert (swag.confs / "docs.subdomain.conf").read_text() == shown.text
    await until(lambda: swag.get("docs.example.test") == (200, "wiki\n"))
    with pytest.raises(Conflict, match="exists on nas already"):
        await swag.ask("proxy_config_create", service="docs", upstream="wiki")


async def test_a_proxy_is_made_from_the_sample_of_another_name(swag: Swag) -> None:
    swag.serve("sonarr", 80)
    done = await swag.ask("proxy_config_create", service="tv", upstream="sonarr", port=80, auth="none")
    text = (swag.confs / "tv.subdomain.conf").read_text()
    assert "server_name tv.*;" in text
    assert (done.config, "set $upstream_port 80;" in text, "authelia" in text) == ("tv.subdomain", True, True)
    await until(lambda: swag.get("tv.example.test") == (200, "sonarr\n"))


async def test_a_proxy_is_removed_by_its_plan_only(swag: Swag) -> None:
    path = swag.enable("sonarr.subdomain")
    planned = await swag.ask("proxy_config_remove", service="sonarr.subdomain")
    assert (planned.status, planned.plan.reversible, path.exists()) == ("planned", True, True)
    path.write_text(path.read_text() + "# mine\n")
    with pytest.raises(Conflict):
        await swag.ask("proxy_config_remove", service="sonarr.subdomain", plan_token=planned.plan.plan_token)
    assert path.exists()
    planned = await swag.ask("proxy_config_remove", service="sonarr.subdomain")
    assert planned.plan.reversible is False
    history = swag.host.service.history = fake_history()
    done = await swag.ask("proxy_config_remove", service="sonarr.subdomain", plan_token=planned.plan.plan_token)
    assert (done.status, done.reloaded, path.exists()) == ("done", True, False)
    (kept,) = await history.snapshots.history(path=str(path))  # though nobody watched it
    assert (await history.snapshots.contents([kept.content_hash]))[kept.content_hash].endswith(b"# mine\n")


async def test_disabling_never_writes_over_what_was_kept(swag: Swag) -> None:
    swag.enable("sonarr.subdomain")
    (swag.confs / "sonarr.subdomain.conf.disabled").write_text("# older\n")
    with pytest.raises(Conflict, match="with another content"):
        await swag.ask("proxy_config_disable", service="sonarr")
    assert names(swag) == {"sonarr.subdomain.conf", "sonarr.subdomain.conf.disabled"}


async def test_a_container_without_nginx_can_judge_nothing(swag: Swag) -> None:
    swag.host.engine.docker("exec", "swag", "busybox", "mv", "/usr/sbin/nginx", "/usr/sbin/gone")
    with pytest.raises(CommandFailed, match="it has no nginx"):
        await swag.ask("proxy_config_enable", service="sonarr.subdomain")
    assert names(swag) == set()


async def test_a_subfolder_sample_cannot_change_its_path(swag: Swag) -> None:
    (swag.confs / "sonarr.subfolder.conf.sample").write_text(subfolder("sonarr", 8989))
    swag.serve("sonarr", 8989)
    with pytest.raises(ValidationFailed, match="its paths are those of sonarr"):
        await swag.ask("proxy_config_generate", service="tv", upstream="sonarr", kind="subfolder")
