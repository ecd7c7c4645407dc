"""Runs of operations, and destructive plans: look at them, stop or approve them."""
