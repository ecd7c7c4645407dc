# The second part of the program that agent_tree.py begins: files, events, and what it is told to do.

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
        if mask & (UNMOUNT | DELETE_SELF | MOVE_SELF) and folder in places:
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
