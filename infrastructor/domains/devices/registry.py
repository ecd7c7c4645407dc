"""The registry as a source of names."""

from infrastructor.completion import Lookup


async def device_names(lookup: Lookup) -> list[str]:
    """Completions: every registered device."""
    return [device.hostname for device in await lookup.devices.all()]
