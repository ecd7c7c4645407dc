"""What a difference of Traefik's configuration is about, by where it is."""

_AUTH = ("auth", "ipallowlist", "ipwhitelist", "authelia", "authentik")


def about(path: tuple[str, ...]) -> str:
    """The class of a difference at this place in the tree."""
    lowered = [part.lower() for part in path]
    if any(word in part for part in lowered for word in _AUTH):
        return "auth"
    if "entrypoints" in lowered[:1]:
        return "ports"
    if (
        len(lowered) > 1
        and lowered[0] in {"http", "tcp", "udp"}
        and lowered[1] in {"services", "routers", "serverstransports"}
    ):
        return "upstream"
    if "healthcheck" in lowered or lowered[:1] == ["ping"]:
        return "health"
    return "other"
