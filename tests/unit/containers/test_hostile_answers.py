"""What an engine or a kernel could say to break a parser or fill an answer."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from infrastructor.domains.containers import cgroups, engine_stats, inspection, log_lines, rows
from infrastructor.errors import ParseError
from infrastructor.protection import is_set

ROW = '{"Names":["/a"],"Id":"x","Image":"i","State":"exited","Status":"","Created":%s,"ExitCode":%s}'
DETAIL = '{"Id":"x","Name":"/a","Image":"i","Config":{},"State":{"Status":"exited","ExitCode":%s},"Created":"%s"}'
GROUP = f"uptime 1.0\ndocker/{'a' * 64}/cpu.max:"


@pytest.mark.parametrize(
    ("parse", "said"),
    [
        (rows.from_api, f"[{ROW % ('1e999', '0')}]".encode()),
        (rows.from_api, f"[{ROW % ('1e300', '0')}]".encode()),
        (rows.from_api, f"[{ROW % ('NaN', '0')}]".encode()),
        (rows.from_api, f"[{ROW % ('1', '1e999')}]".encode()),
        (inspection.from_inspect, (DETAIL % ("1e999", "2026-01-01T00:00:00Z")).encode()),
        (inspection.from_inspect, (DETAIL % ("0", "9999-12-31T23:59:59-12:00")).encode()),
        (engine_stats.from_stats, json.dumps({"ID": "a", "Name": "a", "MemUsage": "9" * 400 + "GiB / 1GiB"}).encode()),
        (cgroups.from_script, f"{GROUP}{'9' * 5000} 1000"),
        (cgroups.from_script, f"{GROUP}{'9' * 400} 1"),
        (cgroups.from_script, f"MemTotal: {'9' * 5000} kB"),
    ],
)
def test_numbers_and_times_beyond_all_bounds_are_not_understood(parse: Callable[[Any], object], said: object) -> None:
    with pytest.raises(ParseError):
        parse(said)


def test_a_line_of_the_year_10000_has_no_time_of_its_own() -> None:
    batch = log_lines.from_program(b"9999-12-31T23:59:59-12:00 late\n", b"", truncated=False)
    shown = log_lines.shown(batch.lines[0])
    assert (shown.time, shown.text) == (None, "9999-12-31T23:59:59-12:00 late")


@pytest.mark.parametrize("value", ["true", "True", " true ", "1", "yes", "on", "please", "", "false", "0", "no"])
def test_a_label_protects_as_a_tag_of_the_same_value_does(value: str) -> None:
    labels = {"infrastructor.protected": value}
    item = {"Id": "x", "Name": "/a", "Config": {"Labels": labels}, "State": {"Status": "exited", "ExitCode": 0}}
    found = inspection.from_inspect(json.dumps(item).encode())[0]
    assert found.protected is is_set(labels, "infrastructor.protected")
