"""What happened: events of all devices in one order."""
