"""Compose stacks on a real engine."""
