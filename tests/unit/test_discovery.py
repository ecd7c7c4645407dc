"""What is found worth watching."""

from infrastructor.domains.configs.discovery import Mount, Mounting, candidates, watches
from infrastructor.domains.configs.discovery_commands import from_lines
from infrastructor.domains.devices.models import ConfigPath
from infrastructor.ids import uuid7

DEVICE = uuid7()


def found(
    paths: list[ConfigPath], containers: list[Mounting], folders: set[str] = frozenset(), services: list[str] = ()
) -> set[tuple]:
    return {(one.path, one.source, one.recursive) for one in watches(DEVICE, paths, containers, folders, services)}


def test_swag_is_found_by_its_container_and_by_its_folder() -> None:
    swag = Mounting(
        name="swag",
        image="lscr.io/linuxserver/swag:3.1@sha256:ab",
        mounts=(Mount(source="/mnt/user/appdata/swag", destination="/config"),),
    )
    by_folder = ConfigPath(kind="swag", path="/mnt/user/appdata/swag/nginx/proxy-confs")
    expected = {("/mnt/user/appdata/swag/nginx", "swag", True)}
    assert found([], [swag]) == found([by_folder], []) == found([by_folder], [swag]) == expected
    # what lies beside, in the folder itself, is configuration as any other
    assert found([], [swag], {"/mnt/user/appdata/swag"}) == expected | {("/mnt/user/appdata/swag", "appdata", False)}


def test_stacks_are_found_by_labels_and_by_globs_once() -> None:
    web = Mounting(
        name="web",
        image="nginx",
        compose_folder="/opt/stacks/web",
        compose_files=("/opt/stacks/web/compose.yaml", "override.yml"),
    )
    by_glob = ConfigPath(kind="compose", path="/opt/stacks/web/compose.yaml")
    assert found([by_glob], [web]) == {("/opt/stacks/web", "compose", False)}
    assert candidates([web]) == ("/opt/stacks/web/compose.yaml", "/opt/stacks/web/override.yml")


def test_services_in_appdata_are_found_whether_a_container_runs_or_not() -> None:
    running = Mounting(name="a", image="a", mounts=(Mount(source="/mnt/user/appdata/a", destination="/config"),))
    services = ["/mnt/user/appdata/a", "/mnt/user/appdata/b", "/mnt/user/appdata/b/config"]
    assert found([], [running], {"/mnt/user/appdata/a"}, services) == {(path, "appdata", False) for path in services}


def test_mounted_configuration_is_found_but_no_whole_disk_and_no_media() -> None:
    mounts = (
        Mount(source="/srv/app/app.yml", destination="/app/app.yml"),
        Mount(source="/srv/app/etc", destination="/etc/app"),
        Mount(source="/srv/media", destination="/media"),
        Mount(source="/srv/app/logo.png", destination="/app/logo.png"),
        Mount(source="/", destination="/config"),
        Mount(source="/var/run/docker.sock", destination="/var/run/docker.sock"),
        Mount(source="/proc/x.conf", destination="/etc/x.conf"),
    )
    box = Mounting(name="app", image="app", mounts=mounts)
    seen = watches(DEVICE, [], [box], {"/srv/app/etc", "/srv/media", "/"})
    assert {(one.path, one.recursive, one.include[0]) for one in seen} == {
        ("/srv/app", False, "app.yml"),
        ("/srv/app/etc", False, "*.conf"),
    }


def test_programs_of_the_machine_are_watched_with_their_sites() -> None:
    paths = [
        ConfigPath(kind="nginx", path="/etc/nginx/nginx.conf"),
        ConfigPath(kind="apache", path="/etc/httpd/conf/httpd.conf"),
        ConfigPath(kind="traefik", path="/etc/traefik/traefik.yml"),
    ]
    seen = found(paths, [])
    assert {("/etc/nginx", "nginx", True), ("/etc/httpd", "apache", True), ("/etc/traefik", "traefik", True)} <= seen
    assert ("/etc/nginx/sites-available", "nginx", True) in seen


def test_a_container_as_the_program_prints_it() -> None:
    line = (
        b'["/web","nginx:1","x",null]\n'.replace(b'"x"', b'{"com.docker.compose.project.working_dir":"/o","b":"]"}')
        + b'["/b","c",null,[{"Type":"bind","Source":"/s","Destination":"/d"},{"Type":"volume","Source":"/v"}]]\n'
    )
    assert from_lines(line) == (
        Mounting(name="web", image="nginx:1", compose_folder="/o"),
        Mounting(name="b", image="c", mounts=(Mount(source="/s", destination="/d"),)),
    )
