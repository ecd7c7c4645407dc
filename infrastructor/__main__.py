"""`python -m infrastructor`: the same as the `infrastructor` command."""

from infrastructor.cli import main

main()
