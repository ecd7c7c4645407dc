"""Files of real devices."""
