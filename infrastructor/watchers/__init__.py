"""Long-lived readers of devices: what happens there becomes events."""
