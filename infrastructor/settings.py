"""All configuration, from `INFRASTRUCTOR_*`. This is the only reader of the environment."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

# Docker and Podman mount secrets here; a file infrastructor_database_url sets database_url.
_SECRETS = Path("/run/secrets")


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "infrastructor"


class Settings(BaseSettings):
    """Defaults suit one machine and a small fleet; every field is `INFRASTRUCTOR_<NAME>` in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="INFRASTRUCTOR_",
        frozen=True,
        extra="ignore",
        secrets_dir=_SECRETS if _SECRETS.is_dir() else None,
    )

    data_dir: Path = Field(default_factory=_default_data_dir, description="State of the embedded mode, keys, spool.")
    database_url: SecretStr | None = Field(default=None, description="PostgreSQL; empty means embedded.")
    redis_url: SecretStr | None = Field(default=None, description="Redis or Valkey; empty means embedded.")

    host: str = Field(default="127.0.0.1", description="Address both doors bind to.")
    api_port: int = Field(default=9101, ge=1, le=65535)
    mcp_port: int = Field(default=9102, ge=1, le=65535)
    allowed_hosts: tuple[str, ...] = Field(default=(), description="Further Host headers to accept.")
    allowed_origins: tuple[str, ...] = Field(default=(), description="Browser origins that may call the doors.")
    read_only: bool = Field(default=False, description="Refuse everything but READ.")
    mcp_exec: bool = Field(default=False, description="Let MCP callers run programs inside containers.")
    destroy_approval: Literal["token", "human"] = Field(
        default="token",
        description="Who confirms a destructive plan of an MCP caller: whoever has its token, or an admin outside MCP.",
    )
    max_body_bytes: int = Field(default=1 << 20, description="Largest request body taken.")

    ssh_username: str | None = Field(default=None, description="Login when a device names none; else the OS user.")
    ssh_private_key_paths: tuple[Path, ...] = Field(
        default=(), description="Keys to try; empty: id_ed25519, id_ecdsa, id_rsa in ~/.ssh."
    )
    ssh_key_passphrase: SecretStr | None = Field(default=None, description="For encrypted private keys.")
    ssh_use_agent: bool = Field(default=False, description="Also ask the agent at SSH_AUTH_SOCK.")
    ssh_agent_path: Path | None = Field(default=None, description="Agent socket; empty: SSH_AUTH_SOCK.")
    ssh_legacy_algorithms: bool = Field(default=False, description="Also offer old algorithms, for old devices.")
    ssh_connect_timeout_s: float = Field(default=5.0, description="TCP connect.")
    ssh_login_timeout_s: float = Field(default=15.0, description="Handshake and authentication.")
    ssh_keepalive_s: float = Field(default=5.0, description="Interval; three lost in a row end the connection.")
    ssh_idle_timeout_s: float = Field(default=1800.0, description="Close a connection unused for so long.")
    ssh_fast_receive: bool = Field(
        default=True, description="Read channel data past asyncssh's layers, with releases of it that we know."
    )
    ssh_slim_links: bool = Field(
        default=True, description="Drop what asyncssh keeps of a handshake, with releases of it that we know."
    )
    ssh_handshakes: int = Field(default=8, description="Handshakes at once in this process.")

    metrics_interval_s: float = Field(default=60.0, description="How often the scheduler collects; 0 turns it off.")
    containers_interval_s: float = Field(default=60.0, description="How often containers are sampled; 0 turns it off.")
    watch_containers: bool = Field(default=True, description="Follow the events of container engines.")
    watch_zfs: bool = Field(default=True, description="Follow the events of ZFS, where the login is root or can be.")
    watch_configs: bool = Field(default=True, description="Keep every version of the configuration files watched.")
    discover_configs: bool = Field(
        default=True, description="Watch the configuration that is found on devices, not only what was asked for."
    )
    watch_settle_ms: int = Field(default=30, ge=0, le=10_000, description="Quiet time before a written file is read.")
    watch_versions_per_s: float = Field(
        default=1.0, gt=0, description="Of a file that changes all the time; what is beyond is passed over."
    )
    watch_poll_s: float = Field(
        default=10.0, ge=0.5, description="How often files are looked at that the kernel does not tell of."
    )
    watch_check_s: float = Field(
        default=300.0, ge=1, description="How often all files of a device are compared with what is known of them."
    )
    watch_max_files: int = Field(default=50_000, ge=1, description="Most files watched on one device.")
    watch_max_file_bytes: int = Field(
        default=1 << 20, ge=0, le=2 << 20, description="Content kept of a file; of a bigger one its hash and size."
    )
    watch_sudo: bool = Field(default=False, description="Watch as root where sudo asks for no password.")
    retention_metrics: timedelta = timedelta(days=90)
    retention_events: timedelta = timedelta(days=30)
    retention_containers: timedelta = Field(
        default=timedelta(days=30), description="States and samples of containers, as they were taken."
    )
    retention_container_hours: timedelta = Field(
        default=timedelta(days=365), description="One row an hour of those samples."
    )
    retention_audit: timedelta = timedelta(days=365)
    drives_interval_s: float = Field(default=86400.0, description="How often SMART data is collected; 0 turns it off.")
    retention_drives: timedelta = timedelta(days=365)
    config_keys_path: Path | None = Field(
        default=None,
        description="Key file of the configuration history, one for all servers; empty: in data_dir.",
    )

    log_level: str = Field(default="INFO")

    @property
    def embedded_database(self) -> bool:
        return self.database_url is None

    @property
    def embedded_redis(self) -> bool:
        return self.redis_url is None
