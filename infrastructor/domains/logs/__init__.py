"""Logs: the journal, syslog files, containers and units, merged by time, over one device or many."""
