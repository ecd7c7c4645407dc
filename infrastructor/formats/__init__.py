"""Formats of configuration files: pure readers of their text, and edits that touch nothing but what they mean to."""
