"""Bringing a snapshot from one dataset to another: stream after stream until the target has it, whatever breaks.

Each round looks at both ends and takes the next stream: the rest of an interrupted one, an incremental one from the
newest point both have, or a full one. A round that breaks with the connection is followed by another, which finds what
has come. So a later call goes on where this one ended.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from infrastructor.domains.zfs.change_models import TransferStep
from infrastructor.domains.zfs.direct_commands import Login, StreamDirectly, StreamLocally, TryLogin
from infrastructor.domains.zfs.reach import asked
from infrastructor.domains.zfs.replica import Point, ReadReplica, Replica
from infrastructor.domains.zfs.stream_commands import (
    EstimateStream,
    ReadToken,
    ReceiveStream,
    ResumeStream,
    SendStream,
)
from infrastructor.domains.zfs.stream_plan import Stream, Wish, clash, has, next_stream, wanted_point
from infrastructor.domains.zfs.streaming import Watch, watched
from infrastructor.errors import (
    CommandNotAvailable,
    CommandTimeout,
    Conflict,
    InfrastructorError,
    NotFound,
    OutcomeUnknown,
    SSHConnectionError,
)
from infrastructor.operation import Context
from infrastructor.ports.devices import Device, Transport
from infrastructor.ports.ssh import Flow

WAITS_S = (3.0, 3.0, 6.0, 12.0, 25.0, 30.0, 30.0, 30.0)
"""Before each new round after one that broke: so often, and no more."""
MOST_STREAMS = 40  # of one transfer: more means that they do not bring it nearer
COMMANDS = (
    *(ReadReplica, SendStream, ResumeStream, ReceiveStream, EstimateStream, ReadToken),
    *(StreamLocally, StreamDirectly, TryLogin),
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to come from where to where."""

    source: Device
    target: Device
    dataset: str
    wish: Wish
    direct: bool = False
    limit: int | None = None
    overwrite: bool = False
    """The target has no snapshot any more and may be written over whole."""

    @property
    def route(self) -> str:
        if self.source.id == self.target.id:
            return "local"
        return "direct" if self.direct else "server"


@dataclass(kw_only=True)
class Outcome:
    """What was done, as far as it is known."""

    wanted: Point
    raw: bool = False
    steps: list[TransferStep] = field(default_factory=list)
    interruptions: int = 0
    verified: bool | None = None

    @property
    def sent_bytes(self) -> int:
        return sum(step.sent_bytes or 0 for step in self.steps)


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Both ends as they were looked at."""

    source: Replica
    target: Replica
    wanted: Point

    @property
    def done(self) -> bool:
        return has(self.target, self.wanted)


async def look(ctx: Context, job: Job) -> Ends:
    """Both ends now. Raises `NotFound` for what is missing at either."""
    there, here = ctx.on(job.source), ctx.on(job.target)
    dataset = job.wish.snapshot.partition("@")[0]
    source = await asked(there, ReadReplica(dataset=dataset), dataset.partition("/")[0])
    target = await asked(here, ReadReplica(dataset=job.dataset), job.dataset.partition("/")[0])
    wanted = wanted_point(source, job.wish.snapshot, job.source.hostname)
    if not target.exists and not target.has_parent and "/" in job.dataset:
        parent = job.dataset.rpartition("/")[0]
        raise NotFound(
            f"{job.target.hostname} has no dataset {parent!r} to put {job.dataset!r} into.",
            hint=f"Make it there first: zfs create -p -o mountpoint=none '{parent}'.",
        )
    if not target.exists and "/" not in job.dataset:
        raise NotFound(f"{job.target.hostname} has no pool {job.dataset!r}.", hint="zfs_pool_list tells them.")
    return Ends(source=source, target=target, wanted=wanted)


@dataclass(frozen=True)
class Leg:
    """The next stream, the command that sends it, and about how many bytes it has."""

    stream: Stream
    send: SendStream | ResumeStream
    size: int | None

    @property
    def step(self) -> TransferStep:
        base = None if self.stream.base is None else self.stream.base.name
        return TransferStep(
            kind=self.stream.kind, snapshot=self.stream.snapshot.name, base=base, estimated_bytes=self.size
        )


async def coming(ctx: Context, job: Job, ends: Ends) -> Leg:
    """What comes next. Raises `Conflict` when the target cannot take it."""
    there = ctx.on(job.source)
    token = ends.target.token
    if token is not None:
        rest = await asked(there, ReadToken(token=token))
        known = next((point for point in ends.source.snapshots if point.guid == rest.guid), None)
        if known is None or rest.size_bytes is None:
            raise Conflict(
                f"{job.dataset} on {job.target.hostname} waits for the rest of {rest.snapshot or 'another snapshot'}, "
                f"which {ends.source.name} on {job.source.hostname} has not.",
                hint="Throw away what has come with zfs_receive_abort, or send the rest from where that snapshot is.",
            )
        return Leg(Stream(kind="resume", snapshot=known), ResumeStream(token=token), rest.size_bytes)
    if not job.overwrite:
        check_takes(job, ends)
    stream = next_stream(ends.source, ends.target, ends.wanted, job.wish)
    send = SendStream.of(stream)
    return Leg(stream, send, await asked(there, EstimateStream.of(send), send.snapshot))


def check_takes(job: Job, ends: Ends) -> None:
    """Raise `Conflict` when the target would have to lose something."""
    found = clash(ends.source, ends.target, ends.wanted, job.wish)
    if found is None:
        return
    back = (
        f"zfs_snapshot_rollback {job.dataset}{found.base.short} on {job.target.hostname} and send again, or "
        if found.base is not None
        else ""
    )
    raise Conflict(
        f"{job.dataset} on {job.target.hostname} cannot take it: {found.message}.",
        hint=f"Choose another target; or, to lose that: {back}zfs_receive_force, which plans it.",
    )


async def carry(ctx: Context, job: Job) -> Outcome:
    """Send until the target has the snapshot. Raises what stands in the way; what has come by then stays there."""
    ends = await look(ctx, job)
    outcome = Outcome(wanted=ends.wanted)
    login = await _login(ctx, job) if job.route == "direct" and not ends.done else None
    while not ends.done:
        if len(outcome.steps) > MOST_STREAMS:
            raise OutcomeUnknown(f"{job.dataset} has not got {ends.wanted.name} after {len(outcome.steps)} streams.")
        try:
            leg = await coming(ctx, job, ends)
            outcome.raw = leg.stream.raw or outcome.raw
            await _send(ctx, job, ends, leg, outcome, login=login)
        except (OutcomeUnknown, SSHConnectionError, CommandTimeout) as error:
            await _pause(ctx, outcome, error)
        ends = await _look_again(ctx, job, outcome)
    outcome.verified = True
    return outcome


async def _look_again(ctx: Context, job: Job, outcome: Outcome) -> Ends:
    """A device that was lost may need its time to come back."""
    while True:
        try:
            return await look(ctx, job)
        except (OutcomeUnknown, SSHConnectionError, CommandTimeout) as error:
            await _pause(ctx, outcome, error)


async def _pause(ctx: Context, outcome: Outcome, error: InfrastructorError) -> None:
    """Wait before the next round; the last time the error goes on to the caller."""
    if outcome.interruptions == len(WAITS_S) or error.details.get("attempted") is False:
        raise error
    wait = WAITS_S[outcome.interruptions]
    outcome.interruptions += 1
    await ctx.progress(outcome.sent_bytes, None, f"Broken ({error.message}) Going on in {wait:g} s.")
    await asyncio.sleep(wait)


async def _send(ctx: Context, job: Job, ends: Ends, leg: Leg, outcome: Outcome, *, login: Login | None) -> None:
    """One stream, whichever way. What passed is noted even when it breaks."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    flow = Flow(bytes_per_second=job.limit)
    receive = _receiving(job, ends)
    watch = Watch(flow=flow, size=leg.size, before=outcome.sent_bytes, name=leg.stream.snapshot.name)
    there = ctx.on(job.source)
    try:
        if job.route == "server":
            await watched(ctx, watch, there.pipe(leg.send, job.target, receive, flow))
        else:
            told = replace(leg.send, tell=True)
            command: StreamLocally | StreamDirectly
            if login is None:
                command = StreamLocally(send=told, receive=receive, limit=job.limit)
            else:
                receive = receive.variant(await ctx.links.capabilities(job.target))
                command = StreamDirectly(login=login, send=told, receive=receive, limit=job.limit)
            await watched(ctx, watch, there.follow(command, watch.line))
            watch.check(job.source, job.target)
    finally:
        await ctx.outdate(job.target)
        sent = {"sent_bytes": flow.moved, "duration_seconds": round(loop.time() - started, 3)}
        outcome.steps.append(leg.step.model_copy(update=sent))


def _receiving(job: Job, ends: Ends) -> ReceiveStream:
    """A new dataset is read-only, so that nothing written to it keeps later streams out, and not mounted by itself."""
    if ends.target.exists:
        return ReceiveStream(dataset=job.dataset, force=job.overwrite and ends.target.token is None)
    filesystem = ends.source.get("type") == "filesystem"
    return ReceiveStream(dataset=job.dataset, readonly="on", canmount="noauto" if filesystem else None)


async def _login(ctx: Context, job: Job) -> Login:
    """How the source logs in to the target. Raises `CommandNotAvailable` that says what to do when it cannot."""
    source, target = job.source, job.target
    if Transport.LOCAL in {source.transport, target.transport} or not target.host_keys:
        raise CommandNotAvailable(
            f"{source.hostname} cannot send to {target.hostname} directly: one of them is this server itself.",
            hint="Leave direct out: the stream then passes through this server.",
        )
    found = await ctx.links.capabilities(target)
    name = f"infrastructor-{target.id.hex}"
    login = Login(
        keys=known_hosts(name, [f"{key.algorithm} {key.public_key}" for key in target.host_keys]),
        name=name,
        port=target.ssh_port,
        user=found.user or target.ssh_username or "root",
        address=target.address or target.hostname,
    )
    tried = await ctx.on(source).run(TryLogin(login=login))
    if not tried.ready:
        key = f"add this line to ~{login.user}/.ssh/authorized_keys on {target.hostname}: {tried.public_key}"
        make = f"make a key there with ssh-keygen, and allow it for {login.user} on {target.hostname}"
        raise CommandNotAvailable(
            f"{source.hostname} cannot log in to {target.hostname} as {login.user} by itself "
            f"({login.address} port {login.port}): {tried.said or 'no word'}",
            hint=f"Without direct the stream passes through this server. Else {key if tried.public_key else make}.",
        )
    return login


def known_hosts(name: str, keys: Sequence[str]) -> str:
    """Lines of a known_hosts file that trust these keys, and no other, under this name."""
    return "\n".join(f"{name} {key}" for key in keys)
