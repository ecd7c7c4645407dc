"""The database schema as Alembic revisions in hand-written SQL. `HEAD` is the newest one."""

HEAD = "0013"
