"""A deadline that holds even when what we wait for ignores being cancelled."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def bounded(work: Coroutine[Any, Any, T], seconds: float, *, on_timeout: Callable[[], None] | None = None) -> T:
    """Return what `work` returns, or raise `TimeoutError` after `seconds`, whatever `work` does then.

    asyncpg waits for a frozen server's answer to its cancel request, so `asyncio.timeout` around it hangs
    as well: here the work is cancelled and left behind, and its late failure is nobody's.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            if on_timeout is not None:
                on_timeout()
            task.cancel()
            task.add_done_callback(_ignore)
    if task.done():
        return task.result()
    raise TimeoutError(f"no answer within {seconds:g} s")


def _ignore(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()
