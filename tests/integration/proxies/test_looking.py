"""What is told of a SWAG's proxies: what they say, and whether what they lead to is there."""

from typing import Any

import pytest

from infrastructor.errors import NotFound
from infrastructor.ports.cache import CacheState
from tests.fake_history import fake_history
from tests.integration.proxies.conftest import NETWORK, Swag
from tests.support.swag import subdomain, subfolder

pytestmark = [pytest.mark.xdist_group("docker"), pytest.mark.timeout(180)]


def codes(problems: list[Any], config: str) -> list[str]:
    return [one.code for one in problems if one.config == config]


async def test_upstreams_that_cannot_be_reached_are_told_with_the_reason(swag: Swag) -> None:
    engine = swag.host.engine
    engine.docker("network", "create", "elsewhere")
    swag.serve("sonarr", 8989)
    swag.serve("wrongport", 80)
    swag.serve("hidden", 80, address="127.0.0.1")
    swag.serve("apart", 80, "--network", "elsewhere")
    swag.serve("plain", 80, "--network", "bridge")
    swag.serve("alias", 80, "--network", NETWORK, "--network-alias", "nick")
    swag.serve("ended", 80)
    engine.docker("stop", "-t", "0", "ended")
    swag.serve("inside", 81, "--network", "container:alias")
    for name in ("sonarr", "missing", "apart", "plain", "ended", "inside", "hidden"):
        swag.enable(f"{name}.subdomain", subdomain(name, 8989 if name == "sonarr" else 80))
    swag.enable("wrongport.subdomain", subdomain("wrongport", 8080))
    swag.enable("nick.subdomain", subdomain("nick", 80))
    swag.enable("far.subdomain", subdomain("far", 80).replace("$upstream_app far", "$upstream_app far.example.org"))

    found = await swag.ask("proxy_summary")

    assert {one.config.partition(".")[0]: one.code for one in found.problems} == {
        "missing": "upstream_missing",
        "apart": "upstream_unshared",
        "plain": "upstream_unshared",
        "ended": "upstream_stopped",
        "inside": "upstream_unshared",
        "hidden": "upstream_loopback",
        "wrongport": "upstream_not_listening",
    }
    messages = {one.config.partition(".")[0]: one.message for one in found.problems}
    assert messages["wrongport"] == "http://wrongport:8080: wrongport does not listen on 8080; it listens on 80."
    assert messages["inside"] == "http://inside:80: inside uses the network of alias; name alias instead."
    assert (found.nginx_accepts, found.running, found.unknown) == (True, True, [])
    assert found.counts["enabled"] == 10
    listed = await swag.ask("proxy_config_list", limit=500)
    assert {row.service for row in listed.configs if row.problems} == set(messages)
    assert [row.service for row in listed.configs][: len(messages)] == sorted(messages)

    told = await swag.ask("service_dependency_map", around="swag")
    edges = {edge.target: (edge.kind, edge.evidence, edge.problem) for edge in told.edges}
    apart = "They share no network, so the name does not resolve."
    assert edges == {
        "sonarr": ("proxy", "sonarr.subdomain: http://sonarr:8989", None),
        "alias": ("proxy", "nick.subdomain: http://nick:80", None),
        "wrongport": ("proxy", "wrongport.subdomain: http://wrongport:8080", None),
        "hidden": ("proxy", "hidden.subdomain: http://hidden:80", None),
        "ended": ("proxy", "ended.subdomain: http://ended:80", "ended is exited."),
        "missing": ("proxy", "missing.subdomain: http://missing:80", "No container there is named missing."),
        **{name: ("proxy", f"{name}.subdomain: http://{name}:80", apart) for name in ("apart", "plain", "inside")},
    }
    assert set(told.dependencies) == edges.keys()
    assert (await swag.ask("service_dependency_map", around="sonarr")).dependents == ["swag"]


async def test_half_logins_conflicts_and_what_nginx_refuses_are_told(swag: Swag) -> None:
    for name in ("one", "two", "three", "four"):
        swag.host.run(name, options=("--network", NETWORK))
    text = subdomain("sonarr", 80)
    swag.enable(
        "one.subdomain",
        text.replace("sonarr", "one").replace("#include /config/nginx/ldap-loc", "include /config/nginx/ldap-loc"),
    )
    swag.enable(
        "two.subdomain",
        text.replace("sonarr", "two").replace("#include /config/nginx/ldap-ser", "include /config/nginx/ldap-ser"),
    )
    swag.enable("three.subdomain", text.replace("sonarr", "three").replace("#auth_basic ", "auth_basic "))
    swag.enable("four.subdomain", text.replace("sonarr", "four").replace("server_name four.*", "server_name one.*"))
    swag.enable("five.subfolder", subfolder("one", 80).replace("$upstream_app one", "$upstream_app <container>"))
    (swag.confs / "six.conf").write_text(text)
    swag.enable("seven.subdomain", text.replace("sonarr.*", "seven.*").replace("ssl.conf", "gone.conf"))

    found = await swag.ask("proxy_summary")

    for config in ("one.subdomain", "two.subdomain", "three.subdomain"):
        assert "auth_half" in codes(found.problems, config)
    assert "conflicting_name" in codes(found.problems, "one.subdomain") + codes(found.problems, "four.subdomain")
    assert "placeholder" in codes(found.problems, "five.subfolder")
    assert codes(found.problems, "six.conf") == ["not_loaded"]
    assert "nginx_refuses" in codes(found.problems, "seven.subdomain")
    assert found.nginx_accepts is False


async def test_a_list_comes_from_the_cache_until_a_container_changes(swag: Swag) -> None:
    swag.enable("sonarr.subdomain")
    first = await swag.host.answer("proxy_config_list", force_refresh=False)
    again = await swag.host.answer("proxy_config_list", force_refresh=False)
    assert (first.cache, again.cache) == (CacheState.MISS, CacheState.HIT)
    assert first.result.configs[0].problems == ["http://sonarr:8989: No container is named sonarr."]
    swag.serve("sonarr", 8989)
    await swag.ask("container_restart", container="sonarr")
    after = await swag.host.answer("proxy_config_list", force_refresh=False)
    assert (after.cache, after.result.configs[0].problems) == (CacheState.MISS, [])


async def test_samples_templates_and_containers_without_a_proxy(swag: Swag) -> None:
    swag.serve("sonarr", 8989, "--network", NETWORK, "--expose", "8989")
    samples = await swag.ask("proxy_sample_list", only="running")
    assert [(one.service, one.kind, one.upstream, one.container) for one in samples.samples] == [
        ("sonarr", "subdomain", "http://sonarr:8989", "sonarr"),
        ("sonarr", "subfolder", "http://sonarr:8989", "sonarr"),
    ]
    templates = await swag.ask("proxy_template_list")
    assert [(one.kind, one.source) for one in templates.templates] == [
        *(("subdomain", "swag"), ("subfolder", "swag"), ("subdomain", "builtin"), ("subfolder", "builtin")),
    ]
    summary = await swag.ask("proxy_summary")
    assert [(one.container, one.ports, one.sample) for one in summary.unproxied] == [("sonarr", [8989], "sonarr")]


async def test_secrets_of_a_configuration_are_not_shown(swag: Swag) -> None:
    extra = """\
        proxy_set_header Authorization "Basic aHVudGVyMjpzZWNyZXQ=";
        set $api_token "hunter2hunter2";
"""
    swag.enable("sonarr.subdomain", subdomain("sonarr", 8989, extra=extra))
    found = await swag.ask("proxy_config_get", service="sonarr.subdomain")
    body = found.model_dump_json()
    assert "aHVudGVyMjpzZWNyZXQ" not in body
    assert "hunter2" not in body
    assert "proxy_set_header Authorization" in body


async def test_without_a_container_the_folder_is_found_or_named(swag: Swag) -> None:
    swag.enable("sonarr.subdomain")
    folder = str(swag.nginx.parent)
    found = await swag.ask("proxy_config_list", swag=folder)
    assert (found.swag, [one.service for one in found.configs]) == (folder, ["sonarr"])
    assert found.configs[0].problems == []
    assert "belongs to no container" in found.unknown[0]
    swag.host.engine.docker("rm", "-f", "swag")
    with pytest.raises(NotFound, match="has no SWAG"):
        await swag.ask("proxy_config_list")


async def test_several_swags_must_be_named(swag: Swag, swag_image: str) -> None:
    options = ("-v", f"{swag.nginx.parent}:/config")
    swag.host.run("swag2", "sleep", "3600", options=options, image=swag_image)
    with pytest.raises(Exception, match="several SWAGs: swag, swag2"):
        await swag.ask("proxy_config_list")
    assert (await swag.ask("proxy_config_list", swag="swag2")).swag == "swag2"


async def test_a_volume_is_found_as_well_as_a_folder(swag: Swag, swag_image: str) -> None:
    engine = swag.host.engine
    engine.docker("rm", "-f", "swag")
    engine.docker("volume", "create", "swagdata")
    inside = "busybox cp -a /from/. /config/"
    mounts = ("-v", "swagdata:/config", "-v", f"{swag.nginx.parent}:/from:ro")
    engine.docker("run", "--rm", *mounts, swag_image, "/bin/busybox", "sh", "-c", inside)
    swag.host.run("swag", "sleep", "3600", options=("-v", "swagdata:/config"), image=swag_image)
    found = await swag.ask("proxy_sample_list")
    assert found.total == 4


async def test_a_sync_tells_what_changed_since_the_last(swag: Swag) -> None:
    first = await swag.ask("proxy_config_sync")
    assert (first.first, first.added, first.versions_kept) == (True, [], None)
    swag.enable("sonarr.subdomain")
    (swag.confs / "radarr.subdomain.conf.sample").write_text(subdomain("radarr", 1))
    (swag.confs / "grafana.subdomain.conf.sample").unlink()
    then = await swag.ask("proxy_config_sync")
    assert (then.first, then.added, then.changed, then.removed) == (
        *(False, ["proxy-confs/sonarr.subdomain.conf"]),
        *(["proxy-confs/radarr.subdomain.conf.sample"], ["proxy-confs/grafana.subdomain.conf.sample"]),
    )


async def test_a_newer_sample_is_merged_into_what_was_customised(swag: Swag) -> None:
    old = subdomain("sonarr", 8989, version="2024/01/01")
    mine = old.replace("client_max_body_size 0", "client_max_body_size 10g")
    new = subdomain("sonarr", 8989, version="2025/07/18", extra="        proxy_buffering off;\n")
    path = swag.enable("sonarr.subdomain", mine)
    (swag.confs / "sonarr.subdomain.conf.sample").write_text(new)

    found = await swag.ask("proxy_config_get", service="sonarr.subdomain")
    assert (found.sample.outdated, found.sample.customised, found.sample.merge) == (True, True, "no_base")
    assert [one.code for one in found.problems] == ["upstream_missing", "outdated"]

    history = swag.host.service.history = fake_history()
    sample = swag.confs / "sonarr.subdomain.conf.sample"
    sample.write_text(old)
    kept = await swag.ask("proxy_config_sync")
    assert kept.versions_kept == kept.files
    sample.write_text(new)
    assert (await swag.ask("proxy_config_sync")).versions_kept == 1
    assert len(await history.snapshots.history(path=str(sample))) == 2
    found = await swag.ask("proxy_config_get", service="sonarr.subdomain")
    assert (found.sample.merge, "+        proxy_buffering off;" in found.sample.merge_diff) == ("clean", True)
    done = await swag.ask("proxy_config_enable", service="sonarr.subdomain", merge=True)
    assert done.changed
    assert {str(path)} == {written for _, written, _ in history.snapshots.expected}  # type: ignore[attr-defined]
    assert path.read_text() == new.replace("client_max_body_size 0", "client_max_body_size 10g")
