"""Formats of configuration files: reading, comparing and masking their text. Pure: no device, no operation."""
