"""Attempts to use up what the sandbox bounds, or to make whoever waits for the command wait for ever.

Bombs end by themselves after some seconds, for the machine on which nothing stops them.
"""

from __future__ import annotations

from dataclasses import replace

from verifier.limits import MIB
from verifier.sandbox.attempt import ATTEMPT_LIMITS, Attempt
from verifier.sandbox.policy import Reason

QUICK = replace(ATTEMPT_LIMITS, wall_seconds=0.5)
STOPPED_TREE = frozenset({Reason.PROCESSES, Reason.MEMORY, Reason.CPU, Reason.TIMEOUT, Reason.KILLED})

TIME = (
    Attempt(
        "sleep",
        "time",
        "sleep for ever",
        'say("held: asleep"); time.sleep(1e6); say("escaped: awake")',
        frozenset({Reason.TIMEOUT}),
        QUICK,
    ),
    Attempt(
        "busy-loop",
        "time",
        "compute for ever",
        "while True: pass",
        frozenset({Reason.CPU}),
        replace(ATTEMPT_LIMITS, cpu_seconds=0.4),
    ),
    Attempt(
        "busy-children",
        "time",
        "compute for ever in turns, so that no single process uses up its time",
        """
while True:
    pid = os.fork()
    if pid == 0:
        until = time.process_time() + 0.1
        while time.process_time() < until: pass
        os._exit(0)
    os.waitpid(pid, 0)
""",
        frozenset({Reason.CPU}),
        replace(ATTEMPT_LIMITS, cpu_seconds=0.4),
    ),
    Attempt(
        "ignore-signals",
        "time",
        "ignore every signal that can be ignored",
        """
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    time.sleep(1)
""",
        frozenset({Reason.TIMEOUT}),
        QUICK,
    ),
    Attempt(
        "exit-handler",
        "time",
        "never return from the handlers of a normal exit",
        "import atexit\natexit.register(time.sleep, 1e6)\n",
        frozenset({Reason.TIMEOUT}),
        QUICK,
    ),
    Attempt(
        "stopped",
        "time",
        "stop itself, so that nobody is told of an end",
        "os.kill(os.getpid(), signal.SIGSTOP)",
        frozenset({Reason.TIMEOUT}),
        QUICK,
    ),
    Attempt(
        "held-stream",
        "time",
        "exit while a child keeps the output open",
        'pid = os.fork()\nif pid == 0: time.sleep(60)\nsay("held: the end is noticed")',
    ),
)

MEMORY = (
    Attempt(
        "memory-bomb",
        "memory",
        "take all memory in one process",
        """
taken = []
for at in range(4096):
    try:
        taken.append(b"x" * (4 << 20))
    except MemoryError:
        say("held: no more after", 4 * at, "MiB")
        sys.exit()
say("escaped: 16 GiB")
""",
        frozenset({Reason.MEMORY, Reason.KILLED}),
    ),
    Attempt(
        "memory-children",
        "memory",
        "take all memory in many processes that stay small each",
        """
for at in range(8):
    if os.fork() == 0:
        taken = b"x" * (64 << 20)
        time.sleep(1.5)
        os._exit(0)
for at in range(8):
    os.wait()
say("escaped: 512 MiB in 8 processes")
""",
        frozenset({Reason.MEMORY}),
    ),
    Attempt(
        "mapping-bomb",
        "memory",
        "map far more memory than there is",
        """
import mmap
tried("a tebibyte", lambda: mmap.mmap(-1, 1 << 40))
maps = []
try:
    for at in range(64):
        maps.append(mmap.mmap(-1, 64 << 20))
except (OSError, MemoryError) as failure:
    say("held:", len(maps), "of 64 -", failure)
else:
    say("escaped: 4 GiB mapped")
""",
        frozenset({Reason.MEMORY}),
    ),
    Attempt(
        "shared-memory",
        "memory",
        "fill /dev/shm",
        """
written = 0
try:
    for at in range(64):
        with open(f"/dev/shm/{at}", "wb") as file:
            file.write(b"x" * (1 << 20))
        written += 1
except OSError as failure:
    say("held:", failure, "after", written, "MiB")
else:
    say("escaped:", written, "MiB")
""",
        frozenset({Reason.DISK}),
    ),
)

PROCESSES = (
    Attempt(
        "fork-bomb",
        "number of processes",
        "fork without end",
        """
until = time.monotonic() + 6
while time.monotonic() < until:
    try:
        os.fork()
    except OSError:
        pass
""",
        STOPPED_TREE,
        replace(ATTEMPT_LIMITS, wall_seconds=2.0),
    ),
    Attempt(
        "thread-bomb",
        "number of processes",
        "start threads without end",
        """
import threading
for at in range(2000):
    try:
        threading.Thread(target=time.sleep, args=(1.5,), daemon=True).start()
    except RuntimeError as failure:
        say("held: no more after", at, failure)
        sys.exit()
say("escaped: 2000 threads")
""",
        STOPPED_TREE,
    ),
    Attempt(
        "fork-and-exit",
        "number of processes",
        "keep forking into new sessions and exiting, so that no process is there long enough to be found",
        """
say("held: is looked for afterwards")
until = time.monotonic() + 6
while time.monotonic() < until:
    if os.fork() != 0:
        os._exit(0)
    os.setsid()
""",
        STOPPED_TREE,
        replace(ATTEMPT_LIMITS, wall_seconds=1.0),
    ),
)

DISK = (
    Attempt(
        "disk-fill",
        "disk",
        "fill the disk",
        """
written = 0
try:
    for at in range(512):
        with open(f"part{at}", "wb") as file:
            file.write(b"x" * (1 << 20))
        written += 1
        time.sleep(0.01)
except OSError as failure:
    say("held:", failure, "after", written, "MiB")
else:
    say("escaped: half a gibibyte")
""",
        frozenset({Reason.DISK}),
    ),
    Attempt(
        "disk-fill-deleted",
        "disk",
        "fill the disk with files that have no name any more",
        """
kept = []
try:
    for at in range(512):
        kept.append(open("part", "wb", buffering=0))
        os.unlink("part")
        for piece in range(4):
            kept[-1].write(b"x" * (1 << 20))
except OSError as failure:
    say("held:", failure, "after", 4 * (len(kept) - 1), "MiB")
else:
    say("escaped: two gibibytes")
""",
        frozenset({Reason.DISK}),
    ),
    Attempt(
        "huge-file",
        "disk",
        "make a file of a tebibyte that takes no space, for whoever copies it",
        """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with open("huge", "wb") as file:
    tried("truncate", lambda: file.truncate(1 << 40))
    tried("seek", lambda: (file.seek(1 << 40), file.write(b"x"), file.flush()))
    tried("allocate", lambda: os.posix_fallocate(file.fileno(), 0, 1 << 30))
os.unlink("huge")
""",
    ),
    Attempt(
        "many-files",
        "disk",
        "use up all file numbers",
        """
made = 0
try:
    for made in range(20000):
        os.close(os.open(f"f{made}", os.O_CREAT | os.O_WRONLY))
        if made % 500 == 0:
            time.sleep(0.05)
except OSError as failure:
    say("held:", failure, "after", made)
else:
    say("escaped:", made, "files")
""",
        frozenset({Reason.DISK}),
    ),
    Attempt(
        "deep-folders",
        "disk",
        "nest folders so deep that cleaning up fails",
        """
made = 0
try:
    for made in range(1200):
        os.mkdir("d" * 40)
        os.chdir("d" * 40)
except OSError as failure:
    say("held:", failure, "after", made)
else:
    say("held: is removed afterwards")
""",
        frozenset({Reason.DISK}),
        replace(ATTEMPT_LIMITS, scratch_files=2000, scratch=64 * MIB),
    ),
    Attempt(
        "odd-results",
        "disk",
        "leave pipes, sockets, links and locked folders as results, so that whoever reads them waits or is led astray",
        """
os.mkfifo("result.jsonl")
os.symlink("/dev/zero", "zero")
os.symlink("/proc/self/environ", "environ")
os.mkdir("locked")
os.mkdir("locked/inner")
os.mkdir("closed", 0)
open(b"\\xff\\xfe name", "w").close()
open("new\\nline", "w").close()
say("held: looked at afterwards")
""",
    ),
)

OUTPUT = (
    Attempt(
        "endless-output",
        "output",
        "print for ever",
        "while True: os.write(1, b'x' * 65536 + b'\\n')",
        frozenset({Reason.OUTPUT}),
    ),
    Attempt(
        "long-line",
        "output",
        "print one line of a megabyte to both streams",
        """
say("held: the rest is dropped")
for at in range(16):
    os.write(1, b"x" * 65536)
    os.write(2, b"\\x1b[2J" * 13107)
""",
    ),
)

EXHAUSTIONS = (*TIME, *MEMORY, *PROCESSES, *DISK, *OUTPUT)
