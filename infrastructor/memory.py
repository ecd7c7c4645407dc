"""What a process that runs for long does about its memory once it is warm."""

import ctypes
import gc


def settle() -> None:
    """Take what is loaded and connected out of the garbage collector's rounds, and give freed heap back.

    A full round over a thousand connections takes tens of milliseconds in which nobody is answered.
    """
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)
