"""Containers of Docker and Podman: state, statistics, logs, health, and what starts, stops or removes them."""
