"""Contents that nothing refers to any more: those of devices that were removed."""

from datetime import timedelta

from infrastructor.storage import sql
from infrastructor.storage.pool import Database

SQL = sql.load("sweep")
GRACE = timedelta(hours=1)
TIMEOUT_S = 600.0


async def sweep(database: Database, grace: timedelta = GRACE) -> int:
    """Delete what was found unused at least `grace` ago and is so still; mark what is unused since files were deleted.

    Whoever uses a marked content takes the mark off, in the statement that refers to it, and marks are put on long
    before anything is deleted: so nothing goes under a version that is being added. Costs nothing when no device was
    removed. Returns how many went.
    """
    deleted = 0
    if await database.fetchval(SQL["due"], grace):
        status = await database.execute(SQL["delete"], grace, timeout=TIMEOUT_S)
        deleted = int(status.rpartition(" ")[2])
    asked = await database.fetchval(SQL["asked"])
    if asked is not None:
        await database.execute(SQL["mark"], timeout=TIMEOUT_S)
        await database.execute(SQL["done"], asked)
    return deleted
