"""Results of the system operations. None is unknown; bytes, seconds and percent are in the names."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from infrastructor.operation import Result


class SystemInfo(Result):
    """Facts of a machine that rarely change."""

    device: str = Field(description="Device name.")
    hostname: str | None = Field(description="The machine's own host name.")
    os_name: str | None = Field(description="e.g. Debian GNU/Linux 12 (bookworm).")
    os_id: str | None = Field(description="e.g. debian, alpine.")
    os_version: str | None = Field(description="e.g. 12.")
    kernel: str | None = Field(description="Kernel release.")
    architecture: str | None = Field(description="e.g. x86_64, aarch64.")
    vendor: str | None = Field(description="Hardware vendor, from DMI or the device tree.")
    model: str | None = Field(description="Hardware model.")
    bios_version: str | None = Field(description="Firmware version.")
    cpu_model: str | None = Field(description="CPU name.")
    cpu_threads: int | None = Field(description="Logical CPUs.")
    memory_total_bytes: int | None = Field(description="RAM the kernel sees.")
    swap_total_bytes: int | None = Field(description="Swap space.")
    uptime_seconds: int | None = Field(description="Since boot.")
    booted_at: datetime | None = Field(description="Boot time (UTC).")
    virtualization: str | None = Field(description="Hypervisor hint from DMI or CPU flags; None on bare metal.")
    init: str | None = Field(description="Name of PID 1, e.g. systemd, init.")


class Load(Result):
    """Load averages."""

    one: float = Field(description="1 minute.")
    five: float = Field(description="5 minutes.")
    fifteen: float = Field(description="15 minutes.")


class Cpu(Result):
    """CPU use over the time since the previous sample."""

    usage_percent: float | None = Field(description="Busy share of all CPUs, 0-100.")
    iowait_percent: float | None = Field(description="Share spent waiting for disks.")
    steal_percent: float | None = Field(description="Share the hypervisor took.")
    threads: int = Field(description="Logical CPUs.")
    sampled_over_seconds: float | None = Field(description="Length of the interval the percentages cover.")


class Memory(Result):
    """Memory as the kernel reports it."""

    total_bytes: int = Field(description="RAM.")
    available_bytes: int | None = Field(description="What new programs could get without swapping.")
    usage_percent: float | None = Field(description="100 * (total - available) / total.")
    swap_total_bytes: int = Field(description="Swap space.")
    swap_used_bytes: int = Field(description="Swap in use.")
    zfs_arc_bytes: int | None = Field(default=None, description="ZFS cache; the kernel counts it as used.")


class MountState(StrEnum):
    OK = "ok"
    HUNG = "hung"
    UNKNOWN = "unknown"


class Mount(Result):
    """One mounted file system that holds data."""

    path: str = Field(description="Where it is mounted.")
    source: str = Field(description="Device, dataset or server:/path.")
    type: str = Field(description="File system type, e.g. ext4, zfs, nfs4.")
    state: MountState = Field(description="hung: it did not answer in time and will not be asked for 5 minutes.")
    read_only: bool = Field(description="Mounted read-only.")
    total_bytes: int | None = Field(description="Size.")
    used_bytes: int | None = Field(description="In use.")
    available_bytes: int | None = Field(description="Free for ordinary users.")
    usage_percent: float | None = Field(description="used / (used + available), as df shows it.")
    inodes_usage_percent: float | None = Field(description="Inodes in use; None where there are no inodes.")


class NetworkInterface(Result):
    """Counters of one interface since boot and rates since the previous sample."""

    name: str = Field(description="e.g. eth0.")
    received_bytes: int = Field(description="Since boot.")
    sent_bytes: int = Field(description="Since boot.")
    errors: int = Field(description="Receive and transmit errors since boot.")
    dropped: int = Field(description="Packets dropped since boot.")
    received_bytes_per_second: float | None = Field(description="Since the previous sample.")
    sent_bytes_per_second: float | None = Field(description="Since the previous sample.")


class Disk(Result):
    """I/O of one whole disk since the previous sample."""

    name: str = Field(description="e.g. sda, nvme0n1.")
    read_bytes_per_second: float | None = Field(description="Since the previous sample.")
    written_bytes_per_second: float | None = Field(description="Since the previous sample.")
    busy_percent: float | None = Field(description="Share of the time the disk had work.")


class Temperature(Result):
    """One sensor."""

    sensor: str = Field(description="Chip or zone and label, e.g. 'coretemp Package id 0'.")
    celsius: float = Field(description="Degrees Celsius.")


class SystemMetrics(Result):
    """How a machine is doing now."""

    device: str = Field(description="Device name.")
    uptime_seconds: int = Field(description="Since boot.")
    load: Load = Field(description="Load averages.")
    cpu: Cpu = Field(description="CPU use.")
    memory: Memory = Field(description="Memory use.")
    mounts: list[Mount] = Field(description="File systems that hold data; no pseudo file systems, no container layers.")
    disks: list[Disk] = Field(description="Whole disks.")
    network: list[NetworkInterface] = Field(description="Interfaces; container ends (veth*) left out.")
    temperatures: list[Temperature] = Field(description="Sensors; empty where there are none.")


class Service(Result):
    """One service of the init system."""

    name: str = Field(description="Unit or script name, e.g. ssh.service.")
    state: str = Field(description="active, failed, inactive, or what the init system says.")
    detail: str | None = Field(description="Sub-state, e.g. running, exited.")
    description: str | None = Field(description="What the unit says of itself.")


class FailedService(Service):
    """A service that failed, and what is known of why. Init systems other than systemd tell only the state."""

    result: str | None = Field(default=None, description="systemd's word: exit-code, signal, timeout, oom-kill …")
    exit_code: int | None = Field(default=None, description="Exit status of the main process, when it exited.")
    signal: int | None = Field(default=None, description="Number of the signal that ended it, when one did.")
    since: datetime | None = Field(default=None, description="When it failed (UTC).")
    restarts: int | None = Field(default=None, description="Automatic restarts so far.")
    last_log: str | None = Field(default=None, description="The last line it logged itself; secrets are masked.")


class Timer(Result):
    """A systemd timer."""

    name: str = Field(description="e.g. logrotate.timer.")
    unit: str | None = Field(description="What it starts.")
    active: bool = Field(description="Whether it is armed.")
    last: datetime | None = Field(description="When it last fired (UTC); None: not since boot, or never.")
    next: datetime | None = Field(description="When it fires next (UTC).")
    overdue: bool = Field(description="Its time has passed and it has not fired.")


class ServiceList(Result):
    """Services of a device: failed ones always, others as asked."""

    device: str = Field(description="Device name.")
    manager: str = Field(description="systemd, openrc or sysv.")
    counts: dict[str, int] = Field(description="How many services per state.")
    failed: list[FailedService] = Field(
        description="Failed services, the first ten with the reason; as many as fit, state=failed pages through all."
    )
    timers: list[Timer] | None = Field(
        default=None, description="When asked for: overdue ones first, then by the next run; None without systemd."
    )
    timers_total: int | None = Field(
        default=None, exclude_if=lambda value: value is None, description="How many there are; more when cut."
    )
    services: list[Service] = Field(description="Services in the asked state, by name.")
    total: int = Field(description="How many match; more than shown when cut.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")


class Process(Result):
    """One process."""

    pid: int = Field(description="Process id.")
    parent_pid: int = Field(description="Parent's id.")
    user: str = Field(description="Owner.")
    state: str = Field(description="As ps prints it: R running, S sleeping, D disk wait, Z zombie.")
    cpu_percent: float | None = Field(description="Average over the life of the process; 100 is one CPU.")
    memory_bytes: int = Field(description="Resident memory.")
    running_seconds: int | None = Field(description="Age of the process.")
    command: str = Field(description="Command line; secrets in it are masked.")


class ProcessList(Result):
    """Processes of a device, biggest first."""

    device: str = Field(description="Device name.")
    states: dict[str, int] = Field(description="How many processes per state letter.")
    processes: list[Process] = Field(description="The rows asked for.")
    total: int = Field(description="How many match; more than shown when cut.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")
