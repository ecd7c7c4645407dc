"""Results of the package operations. None is unknown."""

from pydantic import Field

from infrastructor.operation import Result


class PackageUpdate(Result):
    """One package that could be upgraded."""

    name: str = Field(description="Package.")
    current: str | None = Field(description="Installed version; None when it would be new.")
    new: str = Field(description="Version offered.")
    security: bool | None = Field(description="Whether it fixes a vulnerability; None where the manager cannot tell.")
    origin: str | None = Field(description="Where it comes from, e.g. Debian-Security:12/stable-security, baseos.")


class PackageUpdates(Result):
    """Pending updates of a device, security fixes first."""

    device: str = Field(description="Device name.")
    manager: str = Field(description="apt, dnf, yum, zypper, apk or pacman.")
    total: int = Field(description="Packages that could be upgraded.")
    security_total: int | None = Field(description="How many of them fix vulnerabilities.")
    updates: list[PackageUpdate] = Field(description="The rows asked for.")
    held: list[str] = Field(description="Packages that are kept back on purpose.")
    lists_age_seconds: int | None = Field(
        description="How old the package lists are; newer updates than that are not known. Never refreshed from here."
    )
    reboot_required: bool | None = Field(description="Whether what runs is older than what is installed.")
    reboot_reasons: list[str] = Field(description="Why.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")
