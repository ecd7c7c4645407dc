"""Which facts belong to a change."""

from datetime import UTC, datetime, timedelta

from hypothesis import given as for_all
from hypothesis import strategies as st

from infrastructor.domains.configs.models import ConfigPath
from infrastructor.domains.configs.ranking import ChangeFacts, Fact, names_in_tree, rank, step
from infrastructor.formats.trees import parse
from infrastructor.ids import uuid7
from infrastructor.operation import Params

AT = datetime(2026, 11, 1, tzinfo=UTC)
WINDOW = timedelta(minutes=15)
CHANGE = ChangeFacts(at=AT, path="/srv/shop/compose.yml", names=frozenset({"web", "shop-db"}))


def fact(what: str, seconds: float, **fields: object) -> Fact:
    return Fact(**{"at": AT + timedelta(seconds=seconds), "kind": "container", "what": what, **fields})  # type: ignore[arg-type]


def order(*facts: Fact, change: ChangeFacts = CHANGE) -> list[str]:
    return [one.fact.what for one in rank(change, facts, WINDOW)]


def test_kin_goes_before_strangers_near_before_far_and_serious_before_harmless() -> None:
    web = frozenset({"web"})
    assert order(fact("stranger", 5), fact("kin", 5, names=web)) == ["kin", "stranger"]
    assert order(fact("far", 600), fact("near", 5)) == ["near", "far"]
    assert order(fact("harmless", 5), fact("serious", 5, severity=0.9)) == ["serious", "harmless"]
    assert order(fact("before", -60), fact("after", 60)) == ["after", "before"]


def test_who_wrote_it_is_first_whatever_else_there_is() -> None:
    operation = uuid7()
    change = ChangeFacts(at=AT, path="/x", operation_id=operation)
    wrote = fact("wrote", -800, kind="operation", operation_id=operation)
    along = fact("along", 1, kind="config", operation_id=operation)
    assert order(fact("loud", 1, severity=1.0, path="/x"), along, wrote, change=change) == ["wrote", "along", "loud"]
    assert [one.why for one in rank(change, [wrote, along], WINDOW)] == [
        "it wrote this version",
        "by the same operation",
    ]


def test_the_tie_is_said() -> None:
    facts = [
        fact("file", 1, path="/srv/shop/compose.yml"),
        fact("folder", 2, path="/srv/shop/.env"),
        fact("stack", 3, names=frozenset({"shop"})),
        fact("service", 4, names=frozenset({"shop-db"})),
    ]
    whys = {one.fact.what: one.why for one in rank(CHANGE, facts, WINDOW)}
    assert whys == {
        "file": "1.0 s after; the same file",
        "folder": "2.0 s after; the same folder /srv/shop",
        "stack": "3.0 s after; the path names shop",
        "service": "4.0 s after; about shop-db",
    }


def test_folders_that_hold_everything_tie_nothing() -> None:
    facts = [
        fact("neighbour", 1, path="/mnt/tank/apps/blog/compose.yml"),
        fact("below", 1, path="/mnt/tank/apps/shop/config/app.ini"),
        fact("proxy", 1, path="/mnt/tank/swag/nginx/proxy-confs/shop.subdomain.conf"),
    ]
    change = ChangeFacts(at=AT, path="/mnt/tank/apps/shop/compose.yml")
    ties = {one.fact.what: one.why.partition("; ")[2] for one in rank(change, facts, WINDOW)}
    assert ties == {"neighbour": "", "below": "both paths name shop", "proxy": "both paths name shop"}


@for_all(st.lists(st.floats(-900, 900), max_size=20), st.floats(0, 1))
def test_scores_are_between_0_and_1_and_fall(seconds: list[float], severity: float) -> None:
    scores = [one.score for one in rank(CHANGE, [fact("x", at, severity=severity) for at in seconds], WINDOW)]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def test_names_of_what_a_file_is_about() -> None:
    compose = "name: shop\nservices:\n  web: {container_name: Shop-Web}\n  db: {}\n"
    assert names_in_tree("compose", parse("compose", compose)) == {"shop", "web", "shop-web", "db"}
    swag = "server { location / { set $upstream_app immich; proxy_pass http://10.0.0.5:80; } }"
    assert names_in_tree("swag", parse("swag", swag)) == {"immich", "10.0.0.5"}


def test_a_step_is_more_than_what_a_figure_varies_anyway() -> None:
    assert step("cpu", [10, 12, 11], [60, 62]) is not None
    assert step("cpu", [10, 90, 20, 80], [70, 75]) is None
    assert step("cpu", [10, 11], [15, 16]) is None
    assert step("cpu", [10], [90]) is None


class _Params(Params):
    path: ConfigPath


def test_a_path_from_a_uri_gets_its_slash() -> None:
    assert [_Params(path=path).path for path in ("etc/x", "/etc/x/", "/", "/a..b/.c")] == [
        "/etc/x",
        "/etc/x",
        "/",
        "/a..b/.c",
    ]
