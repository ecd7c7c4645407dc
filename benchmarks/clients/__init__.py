"""What is measured: each module drives one SSH tool in a process of its own, on the same tasks."""
