"""The figures of scrub, resilver, removal and expansion in the JSON of `zpool status`, told as the text tells them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infrastructor.domains.zfs import printed
from infrastructor.domains.zfs.models import Activity
from infrastructor.sanitize import clean

Json = Mapping[str, Any]

_SLOWEST = 10 << 20  # bytes a second; zpool gives no estimate below
_LONGEST_S = 30 * 86400
_STATES = {"SCANNING": "running", "ERRORSCRUBBING": "running", "ACTIVE": "running", "FINISHED": "finished",
           "COMPLETE": "finished", "CANCELED": "canceled"}  # fmt: skip


@dataclass(frozen=True)
class Running:
    """What the speed of a running activity is told from: bytes of this pass, when it began, seconds it was paused."""

    place: int
    done_bytes: int
    began_at: int
    paused_seconds: int
    left_bytes: int
    estimated: bool = True
    slowest: int = _SLOWEST
    longest_s: int | None = None
    step_s: int = 1

    def at(self, activity: Activity, now: int) -> Activity:
        """The activity with its speed and the time left, the device's clock showing `now`."""
        elapsed = max(now - self.began_at - self.paused_seconds, 1)
        speed = self.done_bytes // elapsed
        left = None
        if self.estimated and speed >= self.slowest and self.left_bytes >= 0:
            left = self.left_bytes // speed // self.step_s * self.step_s
        if left is not None and self.longest_s is not None and left >= self.longest_s:
            left = None
        return activity.model_copy(
            update={"bytes_per_second": printed.rounded(speed) if speed else None, "seconds_left": left}
        )


def activities(pool: Json) -> tuple[list[Activity], tuple[Running, ...]]:
    """What goes on in a pool, in the order of the text: scrub or resilver, rebuilds, removal, expansion."""
    found: list[Activity] = []
    running: list[Running] = []
    scan = _dict(pool, "scan_stats")
    rebuilds = [one for one in _dict(scan, "rebuild_stats").values() if isinstance(one, dict)]
    active = [one for one in rebuilds if one.get("state") == "ACTIVE"]
    last_rebuild = 0 if active else max((_int(one, "end_time") for one in rebuilds), default=0)
    error_scrub = _int(scan, "err_scrub_start_time")
    if scan.get("function") == "SCRUB" and _int(scan, "start_time") > error_scrub:
        _add_scan(scan, "scrub", found, running)
    elif error_scrub:
        found.append(_error_scrub(scan))
    resilver = scan.get("function") == "RESILVER"
    if resilver and (scan.get("state") == "SCANNING" or (not active and _int(scan, "end_time") > last_rebuild)):
        _add_scan(scan, "resilver", found, running)
    elif active or last_rebuild:
        for one in rebuilds:
            _add_rebuild(one, found, running)
    _add_moved(_dict(pool, "removal_stats"), "removal", found, running)
    _add_moved(_dict(pool, "raidz_expand_stats"), "expansion", found, running)
    return found, tuple(running)


def _add_scan(scan: Json, kind: str, found: list[Activity], running: list[Running]) -> None:
    state = _STATES.get(str(scan.get("state")))
    if state is None:
        return
    start, end, pause = (_int(scan, key) for key in ("start_time", "end_time", "scrub_pause"))
    if state == "canceled":
        found.append(Activity(kind=kind, state=state, ended_at=printed.moment(end)))
        return
    if state == "finished":
        found.append(
            Activity(
                kind=kind,
                state=state,
                started_at=printed.moment(start),
                ended_at=printed.moment(end),
                duration_seconds=max(end - start, 0),
                repaired_bytes=printed.rounded(_int(scan, "processed")),
                errors=_int(scan, "errors"),
            )
        )
        return
    issued, total = _int(scan, "issued"), _int(scan, "to_examine") - _int(scan, "skipped")
    if not pause:
        running.append(
            Running(
                place=len(found),
                done_bytes=_int(scan, "issued_bytes_per_scan"),
                began_at=_int(scan, "pass_start"),
                paused_seconds=_int(scan, "scrub_spent_paused"),
                left_bytes=total - issued,
                estimated=_int(scan, "processed") > 0 if kind == "resilver" else issued > 0,
            )
        )
    found.append(
        Activity(
            kind=kind,
            state="paused" if pause else "running",
            started_at=printed.moment(start),
            repaired_bytes=printed.rounded(_int(scan, "processed")),
            scanned_bytes=printed.rounded(_int(scan, "examined")),
            issued_bytes=printed.rounded(issued),
            total_bytes=printed.rounded(max(total, 0)),
            done_percent=round(100 * issued / total, 2) if total > 0 else None,
        )
    )


def _error_scrub(scan: Json) -> Activity:
    state = _STATES.get(str(scan.get("err_scrub_state")), "running")
    start, end = _int(scan, "err_scrub_start_time"), _int(scan, "err_scrub_end_time")
    examined, left = _int(scan, "err_scrub_examined"), _int(scan, "err_scrub_to_examine")
    going = state == "running"
    return Activity(
        kind="error_scrub",
        state="paused" if going and _int(scan, "err_scrub_pause") else state,
        started_at=None if state == "canceled" else printed.moment(start),
        ended_at=None if going else printed.moment(end),
        duration_seconds=max(end - start, 0) if state == "finished" else None,
        done_percent=round(100 * examined / (examined + left), 2) if going and examined + left else None,
    )


def _add_rebuild(one: Json, found: list[Activity], running: list[Running]) -> None:
    """A sequential resilver; it is told of each top-level vdev by itself."""
    state, name = _STATES.get(str(one.get("state"))), clean(str(one.get("name")), 200)
    if state is None:
        return
    took, end = _int(one, "scan_time") // 10**9, printed.moment(one.get("end_time"))
    if state == "canceled":
        found.append(Activity(kind="resilver", state=state, vdev=name, ended_at=end))
    elif state == "finished":
        found.append(
            Activity(
                kind="resilver",
                state=state,
                vdev=name,
                started_at=printed.before(end, took),
                ended_at=end,
                duration_seconds=took,
                repaired_bytes=printed.rounded(_int(one, "rebuilt")),
                errors=_int(one, "errors"),
            )
        )
    else:
        scanned, total, passed_ms = _int(one, "scanned"), _int(one, "to_scan"), _int(one, "pass_time") // 10**6
        speed, issue_speed = (_int(one, key) // (passed_ms + 1) * 1000 for key in ("pass_scanned", "pass_issued"))
        found.append(
            Activity(
                kind="resilver",
                state=state,
                vdev=name,
                started_at=printed.moment(one.get("start_time")),
                repaired_bytes=printed.rounded(_int(one, "rebuilt")),
                scanned_bytes=printed.rounded(scanned),
                issued_bytes=printed.rounded(_int(one, "issued")),
                total_bytes=printed.rounded(max(total - _int(one, "pass_skipped"), 0)),
                done_percent=min(round(100 * scanned / (total + 1), 2), 100.0),
                bytes_per_second=printed.rounded(issue_speed) if issue_speed else None,
                seconds_left=(total - scanned) // speed if speed >= _SLOWEST and total >= scanned else None,
            )
        )


def _add_moved(one: Json, kind: str, found: list[Activity], running: list[Running]) -> None:
    """A removal or an expansion: both move bytes; a removal is told in minutes."""
    state = _STATES.get(str(one.get("state")))
    if state is None:
        return
    removal = kind == "removal"
    start, end, step = _int(one, "start_time"), _int(one, "end_time"), 60 if removal else 1
    copied, total = _int(one, "copied" if removal else "reflowed"), _int(one, "to_copy" if removal else "to_reflow")
    name = clean(str(one.get("name")), 200)
    if not removal:
        name = f"{name}-{_int(one, 'expanding_vdev')}"
    elif state == "finished":
        name = f"vdev {_int(one, 'removing_vdev')}"
    if state == "running":
        copied = max(copied, 1)
        if not _int(one, "waiting_for_resilver"):
            running.append(Running(len(found), copied, start, 0, total - copied, True, 1, _LONGEST_S, step))
        found.append(
            Activity(
                kind=kind,
                state=state,
                vdev=name,
                started_at=printed.moment(start),
                issued_bytes=printed.rounded(copied),
                total_bytes=printed.rounded(total),
                done_percent=round(100 * copied / total, 2) if total else None,
            )
        )
        return
    took = max(end - start, 0) // step * step if state == "finished" else None
    found.append(
        Activity(
            kind=kind,
            state=state,
            vdev=name,
            started_at=printed.before(printed.moment(end), took),
            ended_at=printed.moment(end),
            duration_seconds=took,
            repaired_bytes=None if took is None else printed.rounded(copied),
        )
    )


def _dict(item: Json, key: str) -> Json:
    found = item.get(key)
    return found if isinstance(found, dict) else {}


def _int(item: Json, key: str) -> int:
    value = item.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64 else 0
