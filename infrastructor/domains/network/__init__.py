"""Ports, interfaces, container networks, what depends on what, and whether a target answers."""
