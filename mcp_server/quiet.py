"""FastMCP tamed at import: no banner, no update check, no handlers of its own, nothing that touches stdout."""

import logging

import fastmcp


def settle() -> None:
    """Override what `FASTMCP_*` or a stray `.env` may have asked for. Safe to call again."""
    settings = fastmcp.settings
    settings.check_for_updates = "off"
    settings.show_server_banner = False
    settings.telemetry_mode = "off"
    settings.stateless_http = False  # would break elicitation for handshake clients
    settings.json_response = False  # would break progress
    settings.debug = False
    logger = logging.getLogger("fastmcp")
    for handler in tuple(logger.handlers):
        logger.removeHandler(handler)
    logger.propagate = True
    logger.setLevel(logging.WARNING)
