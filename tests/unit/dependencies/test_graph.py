"""Who needs whom, and how far a failure reaches."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from infrastructor.domains.dependencies.graph import Graph, Route
from tests.unit.network.build import container, published, recorded_containers, recorded_sockets, volume


def told(graph: Graph) -> list[tuple[str, str, str, str | None]]:
    return [(edge.source, edge.target, edge.kind.value, edge.problem) for edge in graph.edges]


def test_the_map_of_a_recorded_docker_host() -> None:
    listeners = [(one.port, one.container) for one in recorded_sockets("debian-12-docker").sockets if one.container]
    graph = Graph(recorded_containers("docker-20.10"), ["10.77.0.5"], listeners)
    assert [(edge.source, edge.target, edge.kind.value, edge.evidence) for edge in graph.edges] == [
        ("legacy", "cron", "link", "link as jobs"),
        ("shop/web", "proxy", "env", "API=10.77.0.5:9000"),
        ("shop/web", "shop/cache", "depends_on", "depends_on: service_healthy"),
        ("shop/web", "shop/cache", "env", "REDIS_HOST=cache"),
        ("shop/web", "shop/db", "depends_on", "depends_on: service_started"),
        ("shop/web", "shop/db", "env", "DATABASE_URL=db:5432"),
        ("shop/web", "shop/db", "volume", "reads shop_data, which the other writes"),
        ("sidecar", "shop/web", "network_mode", "network_mode: uses its network"),
    ]
    assert graph.independent == ["stopped"]
    assert graph.reach("shop/db", backwards=True) == ["shop/web", "sidecar"]
    assert sorted(graph.reach("sidecar", backwards=False)) == ["proxy", "shop/cache", "shop/db", "shop/web"]


def test_the_map_of_a_recorded_podman_host() -> None:
    assert told(Graph(recorded_containers("podman-4.3"))) == [("media/app", "media/db", "env", None)]


def test_a_name_means_the_neighbour_in_the_same_network() -> None:
    containers = (
        container("one/db", networks=("one",)),
        container("two/db", networks=("two",)),
        container("two/web", networks=("two",), env=("DB_HOST=db",)),
    )
    assert told(Graph(containers)) == [("two/web", "two/db", "env", None)]


def test_a_name_that_several_answer_to_is_a_problem() -> None:
    containers = (
        container("one/db", networks=("proxy",)),
        container("two/db", networks=("two", "proxy")),
        container("two/web", networks=("two", "proxy"), env=("DB_HOST=db", "OTHER_HOST=db.two")),
    )
    assert told(Graph(containers)) == [
        ("two/web", "two/db", "env", "2 services answer to this name in its networks; which one is chance."),
    ]


def test_a_name_that_does_not_resolve_is_a_problem() -> None:
    containers = (container("db", networks=("one",)), container("web", networks=("two",), env=("DB_HOST=db:5432",)))
    assert told(Graph(containers)) == [
        ("web", "db", "env", "They share no network, so the name does not resolve."),
    ]


def test_missing_and_stopped_targets_are_problems_first() -> None:
    containers = (
        container("s/web", depends_on=(("db", "service_healthy"), ("gone", "service_started"))),
        container("s/db", state="exited"),
        container("s/setup", state="exited"),
        container("s/app", depends_on=(("setup", "service_completed_successfully"),)),
        container("vpn-user", network_mode="container:" + "f" * 64),
    )
    assert told(Graph(containers)) == [
        ("s/web", "s/db", "depends_on", "s/db is exited."),
        ("s/web", "s/gone", "depends_on", "There is no such service."),
        ("vpn-user", "f" * 12, "network_mode", "There is no such container."),
        ("s/app", "s/setup", "depends_on", None),
    ]


def test_an_address_of_the_host_means_who_publishes_the_port() -> None:
    containers = (
        container("db", networks=("one",), ports=(published(5432, 15432),)),
        container("web", networks=("two",), env=("DB=postgres://10.0.0.5:15432/x", "X_URL=http://10.0.0.5:1/")),
        container("job", networks=("two",), env=("DB=postgres://host.docker.internal:15432/x",)),
    )
    assert told(Graph(containers, ["10.0.0.5"])) == [("job", "db", "env", None), ("web", "db", "env", None)]


def test_only_a_reader_needs_the_one_that_writes() -> None:
    containers = (
        container("writer", mounts=(volume("media"),)),
        container("other-writer", mounts=(volume("media"),)),
        container("reader", mounts=(volume("media", writable=False),)),
        container("clock", mounts=(volume("/etc/localtime", writable=False), volume("/var/run/docker.sock"))),
        container("clock-two", mounts=(volume("/etc/localtime"), volume("/var/run/docker.sock", writable=False))),
    )
    assert told(Graph(containers)) == [
        ("reader", "other-writer", "volume", None),
        ("reader", "writer", "volume", None),
    ]


def test_a_proxy_needs_what_it_sends_to_and_is_no_way_through() -> None:
    containers = (
        container("swag", networks=("web",)),
        container("media/sonarr", networks=("web",), depends_on=(("db", "service_started"),)),
        container("media/db", networks=("web",)),
        container("island", networks=("other",)),
        container("old", networks=("web",), state="exited"),
        container("dashboard", networks=("web",), env=("PROXY_HOST=swag",)),
    )
    upstreams = [
        *(("sonarr.subdomain", "sonarr", 8989), ("island.subdomain", "island", 80), ("old.subfolder", "old", 80)),
        *(("gone.subdomain", "Gone", 80), ("nas.subdomain", "nas", 5000), ("itself.subdomain", "127.0.0.1", 80)),
        ("far.subdomain", "far.example.org", 443),
    ]
    routes = [Route(config, f"http://{host}:{port}", host, port) for config, host, port in upstreams]
    graph = Graph(containers, ["nas"], routes={containers[0].id: routes})
    assert [one for one in told(graph) if one[0] == "swag"] == [
        ("swag", "Gone", "proxy", "No container there is named Gone."),
        ("swag", "island", "proxy", "They share no network, so the name does not resolve."),
        ("swag", "old", "proxy", "old is exited."),
        ("swag", "media/sonarr", "proxy", None),
    ]
    [evidence] = [edge.evidence for edge in graph.edges if edge.target == "media/sonarr"]
    assert evidence == "sonarr.subdomain: http://sonarr:8989"
    # Without its database one site is down; the proxy and what asks the proxy go on.
    assert graph.reach("media/db", backwards=True) == ["media/sonarr", "swag"]
    assert graph.reach("swag", backwards=True) == ["dashboard"]
    assert graph.reach("dashboard", backwards=False) == ["swag"]
    assert graph.reach("swag", backwards=False) == ["Gone", "island", "old", "media/sonarr", "media/db"]
    around = Graph(containers, routes={containers[0].id: routes}, detail=True)
    assert ("swag", "host:far.example.org", "proxy", None) in told(around)


def test_detail_adds_what_is_around_under_names_of_its_own() -> None:
    web = container("db", mounts=(volume("db"),), ports=(published(80, 8080),), env=("SMTP_HOST=mail.example.org:25",))
    graph = Graph((web,), detail=True)
    nodes = {node.name: node.kind for node in graph.nodes(name for edge in graph.edges for name in (edge.target,))}
    assert nodes == {
        "network:net": "network",
        "volume:db": "volume",
        "port:8080/tcp": "port",
        "host:mail.example.org": "host",
    }
    assert graph.independent == ["db"]


def test_replicas_are_one_service_with_one_state() -> None:
    one = container("s/web")
    containers = (one, dataclasses.replace(one, id="2" * 64, name="s-web-2", state="exited"))
    graph = Graph(containers)
    assert [node.state for node in graph.nodes(["s/web"])] == ["1 of 2 running"]
    assert graph.find("s-web-2") == graph.find("web") == graph.find("s/web") == ["s/web"]
    assert graph.find("nothing") == []


names = st.sampled_from([f"s{n}/{service}" for n in range(4) for service in ("db", "web", "cache")])


@given(st.lists(st.tuples(names, names), max_size=40), names)
def test_what_depends_on_it_and_what_it_needs_mirror_each_other(pairs: list[tuple[str, str]], start: str) -> None:
    needs: dict[str, set[str]] = {start: set()}
    for source, target in pairs:
        stack, service = target.split("/")
        if source.split("/")[0] == stack:
            needs.setdefault(source, set()).add(service)
            needs.setdefault(target, set())
    graph = Graph([container(name, depends_on=tuple((one, "x") for one in sorted(n))) for name, n in needs.items()])
    for other in graph.reach(start, backwards=False):
        if other != start:
            assert start in graph.reach(other, backwards=True)
