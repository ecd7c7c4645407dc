"""device_import: register the hosts of an OpenSSH client configuration."""
