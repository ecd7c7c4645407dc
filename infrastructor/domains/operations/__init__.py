"""Running operations and waiting plans: how they stand, and how to stop them."""
