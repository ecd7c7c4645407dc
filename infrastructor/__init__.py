"""Infrastructor: see, ask about and safely change every Linux machine you own, over SSH."""
