"""The machine itself: facts, metrics, services, processes."""
