"""The domains: one package each, with the same file names everywhere."""
