"""Drives: how busy they are, how healthy, and what their SMART history predicts."""
