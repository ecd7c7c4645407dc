"""Reverse proxies of SWAG: read, checked against what runs, made, switched on and off."""
