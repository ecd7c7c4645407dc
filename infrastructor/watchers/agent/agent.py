# Watches folders by inotify and tells what is in them, on stdin and stdout; leaves nothing behind. Python >= 3.5.
# The protocol is that of ../agent_protocol.py, the decisions are in ADR 0031. agent.pl does the same.
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
RACY_NS = 50000000  # two writes so close may leave the same times
SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=@,:~")

libc = ctypes.CDLL(None, use_errno=True)
fd = -1
limits = {}
roots = []  # (path, recursive, include, exclude)
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
            if wants(path, covering):
                try:
                    visit(path, os.lstat(path))
                except OSError as e:
                    if e.errno not in GONE:
                        visit(path, None)
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
        if os.path.isdir(path):
            scan(path, visit, mode)
            continue
        folder = os.path.dirname(path)
        if os.path.isdir(folder):
            if folder not in dirs:
                add_watch(folder, True)
            try:
                visit(path, os.lstat(path))
                continue
            except OSError:
                pass
        missing.append(path)


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
    count = [0, 0]

    def visit(path, s):
        global beyond
        if again is not None:
            if path in again:
                return
            again[path] = None
        if path in seen:
            count[1] += 1
        elif len(seen) >= limits["files"]:
            beyond += 1
            return
        if path not in due:
            known_or_new(path, s)
        if s is None:
            return
        count[0] += 1
        text = signature(s)
        if again is not None:
            again[path] = text
        else:
            digest.update(path + b"\0" + text + b"\n")
        if listing:
            say(b"S", text, quote(path))

    scan_all(visit, NEW)
    if count[1] < len(seen):
        sweep()
    if again:
        digest.update(b"".join(p + b"\0" + again[p] + b"\n" for p in sorted(again) if again[p] is not None))
    polled = sum(1 for wd in dirs.values() if wd < 0)
    counts = (count[0], len(dirs), polled, beyond, len(missing), len(told))
    if listing:
        say(b"E", b"%d" % count[0])
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
    if any(os.path.lexists(path) for path in missing):
        resync()


# --- files ------------------------------------------------------------------------------------------------


def touch(path, delay, asked=0):
    now = time.monotonic()
    entry = due.get(path)
    if entry is None:
        entry = due[path] = [now + delay, now + limits["cap"], asked, 1e300]
    else:
        entry[0] = min(now + delay, max(now, entry[1]))
        entry[2] = entry[2] or asked
    if entry[3] > entry[0]:
        entry[3] = entry[0]
        heapq.heappush(heap, (entry[0], path))


def work(most):
    now = time.monotonic()
    while heap and most and heap[0][0] <= now:
        at, path = heapq.heappop(heap)
        entry = due.get(path)
        if entry is None or entry[3] != at:
            continue
        if entry[0] > at:
            entry[3] = entry[0]
            heapq.heappush(heap, (entry[0], path))
            continue
        most -= 1
        if not entry[2]:
            wait = brake(path, now)
            if wait:
                entry[0] = entry[3] = now + wait
                heapq.heappush(heap, (entry[0], path))
                continue
        again = check(path, entry, now)
        if again:
            entry[0] = entry[3] = now + again
            heapq.heappush(heap, (entry[0], path))
        else:
            del due[path]


def brake(path, now):
    """How long to wait, for a file that changes too often."""
    state = spent.get(path)
    if state is None:
        return 0
    state[0] = min(limits["burst"], state[0] + (now - state[1]) * limits["rate"])
    state[1] = now
    return 0 if state[0] >= 1 else (1 - state[0]) / limits["rate"]


def pay(path, now):
    state = spent.get(path)
    if state is None:
        if len(spent) >= BUSY:
            return  # so many files at once: none of them is the one that always changes
        state = spent[path] = [limits["burst"], now]
    state[0] -= 1


def check(path, entry, now):
    """Tell what a file is now. Returns seconds to wait when it has to be looked at again."""
    late = now >= entry[1]
    try:
        s = os.lstat(path)
    except OSError as e:
        if e.errno not in GONE:
            return nothing(path, entry, b"-", why(e), hash(why(e)))
        if entry[2] == 1:
            entry[2] = 2  # asked for: a file that is being replaced is back in a moment
            return limits["hold"]
        if path in seen or entry[2]:
            seen.pop(path, None)
            spent.pop(path, None)
            say(b"D", quote(path))
        return 0
    if stat.S_ISDIR(s.st_mode):
        if path in seen or entry[2]:
            seen.pop(path, None)
            say(b"D", quote(path))
        return 0
    text = signature(s)
    mark = hash(text)
    if not entry[2] and seen.get(path) == mark:
        return 0
    if path not in seen and len(seen) >= limits["files"]:
        if entry[2]:
            say(b"N", b"-", b"limit", quote(path))
        return 0
    if stat.S_ISLNK(s.st_mode):
        try:
            target = os.readlink(path)
        except OSError:
            return limits["settle"]
        seen[path] = mark
        say(b"K", text, quote(target) or b"%", quote(path))
        return 0
    if not stat.S_ISREG(s.st_mode):
        return nothing(path, entry, text, b"special", mark)
    try:
        f = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as e:
        if e.errno in GONE:
            return limits["settle"]
        return nothing(path, entry, text, why(e), mark)
    try:
        before = os.fstat(f)
        if not stat.S_ISREG(before.st_mode):
            return limits["settle"]
        size = before.st_size
        if size > limits["hashed"]:
            return nothing(path, entry, text, b"huge", mark)
        kept, content = size <= limits["bytes"], []
        digest = None if kept else sha256()
        while size >= 0:
            part = os.read(f, min(size + 1, 1 << 18))
            size -= len(part)
            if not part:
                break
            if kept:
                content.append(part)
            else:
                digest.update(part)
        after = os.fstat(f)
        there = os.lstat(path)
    except OSError as e:
        if e.errno in GONE:
            return limits["settle"]
        return nothing(path, entry, text, why(e), mark)
    finally:
        os.close(f)
    text = signature(before)
    whole = text == signature(after) and after.st_ino == there.st_ino and after.st_dev == there.st_dev
    if not whole and not late:
        return limits["settle"]
    recent = time.time() * 1e9 - before.st_ctime_ns < RACY_NS
    seen[path] = 0 if not whole else ~hash(text) if recent else hash(text)
    if kept:
        say(b"F", text, binascii.b2a_base64(b"".join(content)).rstrip() or b"-", quote(path))
    else:
        say(b"H", text, digest.hexdigest().encode(), quote(path))
    pay(path, now)
    if not whole:
        entry[1] = now + limits["cap"]
        return limits["cap"] / 2
    if recent:
        entry[2] = 0
    return 0


def nothing(path, entry, text, reason, mark):
    if entry[2] or seen.get(path) != mark:
        seen[path] = mark
        say(b"N", text, reason, quote(path))
    return 0


# --- events -----------------------------------------------------------------------------------------------


def events():
    """Read what the kernel noticed. Returns False when the watches have to be made anew."""
    while True:
        try:
            data = os.read(fd, 1 << 16)
        except OSError as e:
            if e.errno == errno.EAGAIN:
                return
            raise
        at = 0
        while at < len(data):
            wd = int.from_bytes(data[at:at + 4], sys.byteorder, signed=True)
            mask = int.from_bytes(data[at + 4:at + 8], sys.byteorder)
            size = int.from_bytes(data[at + 12:at + 16], sys.byteorder)
            name = data[at + 16:at + 16 + size].rstrip(b"\0")
            at += 16 + size
            if mask & OVERFLOW:
                say(b"O", b"overflow")
                return resync()
            if wd in wds and event(wds[wd], wd, mask, name):
                return
        if len(data) < 32768:
            return


def event(folder, wd, mask, name):
    if not name:
        if mask & (UNMOUNT | DELETE_SELF | MOVE_SELF) and any(root[0] == folder for root in roots):
            say(b"O", b"root")
            time.sleep(limits["moved"])
            resync()
            return True
        if mask & IGNORED:
            wds.pop(wd, None)
            if dirs.get(folder) == wd:
                del dirs[folder]
                forget(folder)
        return False
    path = folder + b"/" + name if folder != b"/" else b"/" + name
    covering = scopes(folder)
    if mask & ISDIR:
        if any(root[0] == path for root in roots):
            resync()
            return True
        if not wants(path, covering, True):
            return False
        if mask & (MOVED_FROM | DELETE):
            forget(path)
        elif mask & (CREATE | MOVED_TO) or (mask & ATTRIB and (path in told or dirs.get(path, -1) < 0)):
            scan(path, known_or_new)
        return False
    if not wants(path, covering) and not any(root[0] == path for root in roots):
        return False
    if mask & (DELETE | MOVED_FROM):
        touch(path, limits["hold"])
    elif mask & CLOSE_WRITE:
        touch(path, limits["settle"])
    elif mask & MOVED_TO:
        touch(path, limits["moved"])
    elif mask & CREATE:
        try:
            s = os.lstat(path)
        except OSError:
            return False
        touch(path, limits["modify"] if stat.S_ISREG(s.st_mode) and s.st_nlink == 1 else limits["moved"])
    elif mask & MODIFY:
        touch(path, limits["modify"])
    elif path not in due:
        touch(path, limits["settle"])
    return False


def command(line):
    global roots
    word, _, rest = line.partition(b" ")
    if word == b"L":
        names = "files bytes hashed settle moved modify cap hold burst rate poll check beat".split()
        limits.update(zip(names, [float(v) for v in rest.split()]))
    elif word == b"R":
        recursive, include, exclude, path = rest.split(b" ")
        roots.append((
            unquote(path),
            recursive == b"1",
            None if include == b"-" else re.compile(unquote(include), re.S),
            None if exclude == b"-" else re.compile(unquote(exclude), re.S),
        ))
    elif word == b"W":
        restart(baseline)
        tree()
    elif word == b"M":
        tree(True)
    elif word == b"G":
        touch(unquote(rest), 0, 1)
    elif word == b"Q":
        questions.append(rest)
    elif word == b"X":
        sys.exit(0)


def main():
    ready = False
    say(b"I", b"infrastructor-agent", b"1", b"python", b"%d" % (time.time() * 1e9))
    flush()
    poll = select.poll()
    poll.register(0, select.POLLIN)
    part, watched, looked, compared, spoke = b"", -1, 0.0, 0.0, 0.0
    while True:
        now = time.monotonic()
        wait = 3600.0
        if fd >= 0:
            if watched != fd:
                if watched >= 0 and ready:
                    poll.unregister(watched)
                poll.register(fd, select.POLLIN)
                watched, ready = fd, True
                looked = compared = spoke = now
            nearest = min(looked + limits["poll"], compared + limits["check"], spoke + limits["beat"])
            wait = max(0.0, min(nearest, heap[0][0] if heap else nearest) - now)
        got = dict(poll.poll(wait * 1000 + 0.5))
        if 0 in got:
            data = os.read(0, 1 << 16)
            if not data:
                return
            lines = (part + data).split(b"\n")
            part = lines.pop()
            for line in lines:
                command(line)
        if fd >= 0 and fd in got:
            events()
        if fd >= 0:
            work(200)
            now = time.monotonic()
            if questions and not any(entry[2] for entry in due.values()):
                for number in questions:
                    say(b"Q", number)
                del questions[:]
            if now - looked >= limits["poll"]:
                looked = now
                for path in [p for p, state in spent.items() if (now - state[1]) * limits["rate"] > limits["burst"]]:
                    del spent[path]
                polled()
            if now - compared >= limits["check"]:
                compared = now
                tree()
            if out:
                spoke = now
            elif now - spoke >= limits["beat"]:
                spoke = now
                say(b"B", b"%d" % (time.time() * 1e9))
        flush()


try:
    main()
except (BrokenPipeError, KeyboardInterrupt):
    pass
