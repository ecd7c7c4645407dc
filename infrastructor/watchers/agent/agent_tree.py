# Watches folders by inotify and tells what is in them, on stdin and stdout; leaves nothing behind. Python >= 3.5.
# The protocol is that of ../agent_protocol.py, the decisions are in ADR 0031. agent.pl does the same.
# This first part of the program has what it keeps in mind and the folders; agent.py goes on with files and events.
import binascii
import ctypes
import errno
import heapq
import os
import re
import select
import stat
import sys
import time

try:
    from _sha256 import sha256  # not hashlib, which brings OpenSSL into memory
except ImportError:
    try:
        from _sha2 import sha256
    except ImportError:
        from hashlib import sha256

MODIFY, ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE = 2, 4, 8, 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF, UNMOUNT, OVERFLOW, IGNORED, ISDIR = 0x400, 0x800, 0x2000, 0x4000, 0x8000, 0x40000000
ONLYDIR, DONT_FOLLOW = 0x1000000, 0x2000000
WATCH = (
    MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF | ONLYDIR
)
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
BUSY = 2000
TOGETHER = 256  # files whose signatures are digested at once
RACY_NS = 50000000  # two writes so close may leave the same times
SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=@,:~")

lstat = os.lstat
libc = ctypes.CDLL(None, use_errno=True)
fd = -1
limits = {}
roots = []  # (path, recursive, include, exclude)
places = {}  # folder of a root -> which one it was when it was watched: another may have come in its place
dirs = {}  # folder -> watch descriptor, or -1: looked at now and then
wds = {}
seen = {}  # file -> hash of the signature we told; its complement: the same may be another file; 0: tell again
told = {}  # folder -> why it cannot be read
due = {}  # file -> [when, at the latest, asked for: 1, and missed once: 2; its place in the heap]
heap = []
spent = {}  # file -> [how many may be told at once, when last]
missing = []
beyond = 0
questions = []
out = []


def say(*words):
    out.append(b" ".join(words) + b"\n")
    if len(out) > 64 or len(words[-2 if len(words) > 2 else 0]) > 65536:
        flush()


def flush():
    data = b"".join(out)
    del out[:]
    view = memoryview(data)
    while view:
        view = view[os.write(1, view):]


def quote(path):
    if SAFE.issuperset(path):
        return path
    return b"".join(bytes((c,)) if c in SAFE else b"%%%02X" % c for c in bytearray(path))


def unquote(text):
    parts = text.split(b"%")
    return parts[0] + b"".join(bytes((int(p[:2], 16),)) + p[2:] for p in parts[1:])


def signature(s):
    return b"%d,%d,%d,%d,%d,%d,%d" % (s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_mode, s.st_uid, s.st_gid)


def why(e):
    return (errno.errorcode.get(e.errno) or "E%s" % e.errno).encode()


# --- what is wanted ---------------------------------------------------------------------------------------


def scopes(folder):
    """The roots that cover what is in a folder, each with where the path relative to it begins."""
    found = []
    for root in roots:
        path = root[0]
        if folder == path or (root[1] and folder.startswith(path if path == b"/" else path + b"/")):
            found.append((root, len(path) + (path != b"/")))
    return found


def wants(path, covering, folder=False):
    for root, start in covering:
        rel = path[start:]
        if root[3] and root[3].match(rel):
            continue
        if folder:
            if root[1]:
                return True
        elif not root[2] or root[2].match(rel):
            return True
    return False


# --- folders ----------------------------------------------------------------------------------------------


def add_watch(folder, follow):
    wd = libc.inotify_add_watch(fd, folder, WATCH | (0 if follow else DONT_FOLLOW))
    if wd < 0:
        code = ctypes.get_errno()
        if code in GONE:
            return False
        dirs[folder] = -1  # no watch left, or not allowed: a look now and then
        return True
    old = wds.get(wd)
    if old is not None and old != folder and dirs.get(old) == wd:
        del dirs[old]
    wds[wd] = folder
    dirs[folder] = wd
    return True


def drop_watch(folder):
    wd = dirs.pop(folder, -1)
    told.pop(folder, None)
    if wd >= 0 and wds.get(wd) == folder:
        del wds[wd]
        libc.inotify_rm_watch(fd, wd)


ALL, NEW, AGAIN = 0, 1, 2  # watch every folder; only new ones; only this and new ones, and look no further


def scan(folder, visit, mode=ALL):
    """Watch a folder and all below, then look: what is written in between is seen twice rather than never.

    Files come in the order of their whole paths.
    """
    top = enter(folder, mode != NEW or folder not in dirs, True)
    stack = [top] if top else []
    while stack:
        prefix, names, covering = stack[-1]
        for name in names:
            if name[-1] == 47:
                path = prefix + name[:-1]
                known = path in dirs
                if wants(path, covering, True) and not (mode == AGAIN and known):
                    below = enter(path, mode == ALL or not known, False)
                    if below:
                        stack.append(below)
                        break
                continue
            path = prefix + name
            if path in seen or wants(path, covering):  # what we told of is wanted; looking it up is much cheaper
                try:
                    s = lstat(path)
                except OSError as e:
                    if e.errno not in GONE:
                        visit(path, None)
                    continue
                visit(path, s)
        else:
            stack.pop()


def enter(folder, watch, follow):
    """What is in a folder, in order; None when it is not there, or may not be read."""
    if watch and not add_watch(folder, follow):
        if folder in dirs:
            forget(folder)
        return None
    try:
        names = [e.name + b"/" if e.is_dir(follow_symlinks=False) else e.name for e in os.scandir(folder)]
    except OSError as e:
        if e.errno in GONE:
            forget(folder)
        elif told.get(folder) != e.errno:
            told[folder] = e.errno
            say(b"U", why(e), quote(folder))
        return None
    told.pop(folder, None)
    names.sort()
    return folder if folder == b"/" else folder + b"/", iter(names), scopes(folder)


def scan_all(visit, mode=ALL):
    del missing[:]
    for path, _, _, _ in sorted(roots, key=lambda root: root[0] + b"/" if os.path.isdir(root[0]) else root[0]):
        if place(path):
            scan(path, visit, mode)
            continue
        folder = os.path.dirname(path)
        if place(folder):
            if folder not in dirs:
                add_watch(folder, True)
            try:
                visit(path, os.lstat(path))
                continue
            except OSError:
                pass
        missing.append(path)


def identity(path):
    try:
        s = os.stat(path)
    except OSError:
        return None
    return (s.st_dev, s.st_ino) if stat.S_ISDIR(s.st_mode) else None


def place(folder):
    """Whether it is a folder; from now on it is known which one."""
    found = identity(folder)
    if found:
        places.setdefault(folder, found)
    return found is not None


def replaced():
    """Whether a folder above was renamed: then another one may have the name, and our watch went with the old one."""
    return any(dirs.get(folder, -1) >= 0 and identity(folder) != known for folder, known in places.items())


def nested():
    """Whether a scan may see a file twice, or out of order."""
    paths = sorted(root[0].rstrip(b"/") + b"/" for root in roots)
    return any(b.startswith(a) for a, b in zip(paths, paths[1:]))


def forget(folder):
    """A folder was moved away or deleted: its watches mean nothing any more, what was in it is probably gone."""
    below = folder + b"/"
    for path in [p for p in list(dirs) if p == folder or p.startswith(below)]:
        drop_watch(path)
    lost = [p for p in seen if p.startswith(below)]
    for path in lost:
        touch(path, limits["hold"])


def known_or_new(path, s):
    """A visitor: what we have not told needs a check."""
    if s is None:
        if path not in seen:
            touch(path, limits["settle"])
        return
    mark = hash(signature(s))
    if seen.get(path) not in (mark, ~mark):
        touch(path, limits["settle"])


def baseline(path, s):
    """A visitor: take it as told; the server compares."""
    global beyond
    if len(seen) >= limits["files"] and path not in seen:
        beyond += 1
    elif s is not None:
        seen[path] = hash(signature(s))
    else:
        touch(path, 0)


def restart(visit):
    """Begin anew with all watches."""
    global fd, beyond
    if fd >= 0:
        os.close(fd)
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    dirs.clear()
    wds.clear()
    told.clear()
    places.clear()
    beyond = 0
    scan_all(visit)


def resync():
    """The kernel dropped something, or a root went: look at everything again."""
    restart(known_or_new)
    sweep()
    tree()


def tree(listing=False):
    """Look at everything, tell what changed unnoticed, and the digest of it all for comparison."""
    global beyond
    beyond = 0
    again = {} if nested() else None
    digest = sha256()
    parts = []
    count = known = 0

    def visit(path, s):
        global beyond
        nonlocal count, known
        if again is not None:
            if path in again:
                return
            again[path] = None
        old = seen.get(path)
        if old is not None:
            known += 1
        elif len(seen) >= limits["files"]:
            beyond += 1
            return
        if s is None:
            if path not in due:
                known_or_new(path, s)
            return
        count += 1
        text = signature(s)
        mark = hash(text)
        if old != mark and old != ~mark and path not in due:
            touch(path, limits["settle"])
        if again is not None:
            again[path] = text
        else:
            parts.append(path + b"\0" + text + b"\n")
            if len(parts) >= TOGETHER:
                digest.update(b"".join(parts))
                del parts[:]
        if listing:
            say(b"S", text, quote(path))

    scan_all(visit, NEW)
    if known < len(seen):
        sweep()
    if again:
        parts = [p + b"\0" + again[p] + b"\n" for p in sorted(again) if again[p] is not None]
    digest.update(b"".join(parts))
    polled = sum(1 for wd in dirs.values() if wd < 0)
    counts = (count, len(dirs), polled, beyond, len(missing), len(told))
    if listing:
        say(b"E", b"%d" % count)
    else:
        say(b"T", b"%d,%d,%d,%d,%d,%d" % counts, b"-" if due else digest.hexdigest().encode())


def sweep():
    """Find which files are not there any more."""
    for path in list(seen):
        if path not in due and not hidden(path) and not os.path.lexists(path):
            touch(path, limits["hold"])


def hidden(path):
    """Whether a folder above it cannot be read: nothing is known of it then."""
    while told and len(path) > 1:
        path = os.path.dirname(path)
        if path in told:
            return True
    return False


def polled():
    for folder in [d for d, wd in dirs.items() if wd < 0]:
        found = set()

        def visit(path, s):
            found.add(path)
            if path not in due and (s is None or seen.get(path) != hash(signature(s))):
                touch(path, limits["settle"])

        scan(folder, visit, AGAIN)
        below = folder + b"/"
        for path in [p for p in seen if p.startswith(below) and b"/" not in p[len(below):]]:
            if path not in found and path not in due and folder not in told:
                touch(path, limits["hold"])
    if replaced():
        say(b"O", b"root")
        resync()
    elif any(os.path.lexists(path) for path in missing):
        resync()
