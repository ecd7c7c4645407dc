"""Compose stacks: what runs, text fitted to a device, and deployments that end well or are undone."""
