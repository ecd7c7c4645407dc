"""Registered devices: add, trust, test, analyse, import, and asking many at once."""
