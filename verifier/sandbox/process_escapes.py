"""Attempts to reach other processes and the kernel from inside.

One that succeeds does no harm but to the bait: nothing here ends, empties or remounts what belongs to the machine.
"""

from __future__ import annotations

from verifier.sandbox.attempt import Attempt

PROCESSES = (
    Attempt(
        "parent-memory",
        "processes",
        "read the memory of the process that started it",
        """
for pid in (host["pid"], os.getppid(), 1):
    tried("mem", lambda: os.open(f"/proc/{pid}/mem", os.O_RDONLY))
    tried("maps", lambda: open(f"/proc/{pid}/maps").read(16))
    tried("root", lambda: os.listdir(f"/proc/{pid}/root/"))
    buffer = ctypes.create_string_buffer(16)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 16)
    tried("process_vm_readv", lambda: call("process_vm_readv", pid, vector, 1, vector, 1, 0))
""",
    ),
    Attempt(
        "environments-of-others",
        "processes",
        "read the environment of every process there is",
        """
pids = set()
try:
    pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}
except OSError as failure:
    say("held: no list of processes -", failure)
for pid in sorted((pids | {host["pid"], host["victim"], os.getppid(), 1}) - {os.getpid()}):
    tried(str(pid), lambda: open(f"/proc/{pid}/environ").read())
""",
    ),
    Attempt(
        "see-others",
        "processes",
        "see which programs run on the host",
        """
for pid in [host["pid"], host["victim"], *range(2, 300)]:
    if pid == os.getpid():
        continue
    try:
        line = open(f"/proc/{pid}/cmdline", "rb").read(200)
    except OSError:
        continue
    say("escaped:", pid, line)
say("held: no process but its own")
""",
    ),
    Attempt(
        "ptrace",
        "processes",
        "trace the process that started it",
        """
for pid in (host["pid"], host["victim"], os.getppid()):
    tried("seize", lambda: call("ptrace", 0x4206, pid, 0, 0))
tried("attach", lambda: call("ptrace", 16, host["victim"], 0, 0))
tried("be traced", lambda: call("ptrace", 0, 0, 0, 0))
""",
    ),
    Attempt(
        "signal-others",
        "processes",
        "end a process of the same user outside",
        """
for number in (signal.SIGTERM, signal.SIGKILL):
    tried("kill", lambda: os.kill(host["victim"], number))
    tried("group", lambda: os.killpg(host["victim"], number))
    tried("thread", lambda: call("tgkill", host["victim"], host["victim"], int(number)))
    tried("queue", lambda: call("rt_sigqueueinfo", host["victim"], int(number), ctypes.create_string_buffer(128)))
def by_descriptor():
    handle = os.pidfd_open(host["victim"])
    signal.pidfd_send_signal(handle, signal.SIGKILL)
tried("pidfd", by_descriptor)
""",
    ),
    Attempt(
        "signal-overseer",
        "processes",
        "end the process that watches it, and process 1",
        """
for pid in (os.getppid(), 1):
    for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except OSError:
            pass
time.sleep(0.2)
say("held: both still there" if os.getppid() else "escaped: orphaned")
""",
    ),
    Attempt(
        "signal-everyone",
        "processes",
        "send a signal to every process there is",
        """
# Ends only the bait; everybody else ignores it.
try:
    os.kill(-1, signal.SIGURG)
except OSError as failure:
    say("held:", failure)
else:
    say("held: reached nobody outside, as is looked at afterwards")
""",
    ),
    Attempt(
        "limits-of-others",
        "processes",
        "starve the process that started it: its limits, priority and processors",
        """
import resource
tried("prlimit", lambda: resource.prlimit(host["victim"], resource.RLIMIT_NOFILE, (3, 3)))
tried("nice", lambda: os.setpriority(os.PRIO_PROCESS, host["victim"], 19))
tried("affinity", lambda: os.sched_setaffinity(host["victim"], {0}))
tried("scheduler", lambda: os.sched_setscheduler(host["victim"], os.SCHED_IDLE, os.sched_param(0)))
""",
    ),
    Attempt(
        "own-limits",
        "processes",
        "raise its own limits",
        """
import resource
for name in ("RLIMIT_NPROC", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_CPU", "RLIMIT_AS", "RLIMIT_CORE"):
    which = getattr(resource, name)
    hard = resource.getrlimit(which)[1]
    tried(name, lambda: resource.setrlimit(which, (hard + 1, hard + 1)))
tried("unlimited", lambda: resource.setrlimit(resource.RLIMIT_CPU, (-1, -1)))
tried("out of memory score", lambda: open("/proc/self/oom_score_adj", "w").write("-1000"))
tried("nice", lambda: os.nice(-5))
""",
    ),
    Attempt(
        "daemon",
        "processes",
        "leave a process behind by forking twice",
        """
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
say("held: looked for afterwards")
""",
    ),
    Attempt(
        "session-daemon",
        "processes",
        "leave processes behind in sessions of their own that ignore every signal and close every stream",
        """
for at in range(4):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(1, 65):
                try:
                    signal.signal(number, signal.SIG_IGN)
                except (OSError, ValueError):
                    pass
            libc.prctl(1, 0, 0, 0, 0)
            libc.prctl(36, 1, 0, 0, 0)
            os.closerange(0, 64)
            if at % 2:
                os.fork()
            time.sleep(60)
        os._exit(0)
say("held: looked for afterwards")
""",
    ),
    Attempt(
        "terminal",
        "processes",
        "type into the terminal of whoever started it",
        """
import fcntl
tried("open", lambda: os.open("/dev/tty", os.O_RDWR))
for number in (0, 1, 2):
    tried("type", lambda: fcntl.ioctl(number, 0x5412, b"x"))
say("escaped: shares a session" if os.getsid(0) not in (os.getpid(), os.getppid()) else "held: a session of its own")
""",
    ),
)

KERNEL = (
    Attempt(
        "mount",
        "kernel",
        "mount file systems and change the root",
        """
tried("mount", lambda: call("mount", b"tmpfs", os.getcwd().encode(), b"tmpfs", 0, None))
tried("chroot", lambda: os.chroot("."))
tried("pivot_root", lambda: call("pivot_root", b".", b"."))
tried("open_tree", lambda: call("open_tree", -100, b"/", 1))
tried("fsopen", lambda: call("fsopen", b"tmpfs", 0))
tried("mount_setattr", lambda: call("mount_setattr", -100, b"/", 0, ctypes.create_string_buffer(32), 32))
""",
    ),
    Attempt(
        "unshare",
        "kernel",
        "become root in namespaces of its own",
        """
for flag in (0x10000000, 0x10000000 | 0x20000, 0x20000, 0x20000000, 0x40000000, 0x08000000, 0x04000000, 0x02000000):
    tried(hex(flag), lambda: call("unshare", flag))
""",
    ),
    Attempt(
        "clone-namespaces",
        "kernel",
        "the same through clone and clone3",
        """
def clone(name, *words):
    pid = call(name, *words)
    if pid == 0:
        os._exit(0)
    return pid
for flag in (0x10000000, 0x40000000, 0x20000):
    tried("clone", lambda: clone("clone", flag | signal.SIGCHLD, 0, 0, 0, 0))
    request = (ctypes.c_uint64 * 8)(flag, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    tried("clone3", lambda: clone("clone3", request, 64))
""",
    ),
    Attempt(
        "setns",
        "kernel",
        "enter the namespaces of another process",
        """
for pid in (1, os.getppid(), host["pid"]):
    for kind in ("user", "mnt", "net", "pid"):
        tried(kind, lambda: call("setns", os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY), 0))
tried("own", lambda: call("setns", os.open("/proc/self/ns/net", os.O_RDONLY), 0))
""",
    ),
    Attempt(
        "keyring",
        "kernel",
        "use the kernel's key rings",
        """
tried("add", lambda: call("add_key", b"user", b"name", b"value", 5, -3))
tried("ask", lambda: call("request_key", b"user", b"name", None, -3))
tried("list", lambda: call("keyctl", 0, -4, 1))
""",
    ),
    Attempt(
        "io-uring",
        "kernel",
        "do all of the above through io_uring, past the filter",
        'tried("setup", lambda: call("io_uring_setup", 4, ctypes.create_string_buffer(120)))',
    ),
    Attempt(
        "kernel-surface",
        "kernel",
        "reach parts of the kernel with a record of holes: none may even look at its arguments",
        """
for name in ("bpf", "perf_event_open", "userfaultfd", "init_module", "finit_module", "delete_module", "kexec_load", "reboot",
             "kexec_file_load", "swapon", "swapoff", "acct", "syslog", "personality", "kcmp", "pidfd_getfd", "quotactl",
             "process_madvise", "process_mrelease", "move_pages", "migrate_pages", "fanotify_init", "settimeofday", "clock_settime",
             "modify_ldt", "iopl", "ioperm", "memfd_secret", "io_setup", "umount2", "move_mount", "fsconfig", "fspick"):
    try:
        call(name, 0, 0, 0, 0, 0, 0)
    except OSError as failure:
        if failure.errno in (errno.EPERM, errno.ENOSYS):
            continue
        say("escaped:", name, failure)
    else:
        say("escaped:", name)
say("held: all refused unseen")
""",
    ),
    Attempt(
        "foreign-calls",
        "kernel",
        "system calls by the numbers of another interface, which a filter may not know",
        """
import platform
if platform.machine() != "x86_64":
    say("n/a: one interface only")
else:
    for name in ("getpid", "ptrace"):
        number = {"getpid": 39, "ptrace": 521}[name]
        got = libc.syscall(ctypes.c_long(0x40000000 | number), 0, 0, 0, 0)
        say("escaped:" if got >= 0 or ctypes.get_errno() != errno.ENOSYS else "held:", name, ctypes.get_errno())
for number in (463, 470, 500, 10000):
    got = libc.syscall(ctypes.c_long(number), 0, 0, 0, 0)
    say("held:" if got < 0 and ctypes.get_errno() == errno.ENOSYS else "escaped:", number, ctypes.get_errno())
""",
    ),
    Attempt(
        "hidden-memory",
        "kernel",
        "memory that no limit counts: anonymous files, System V segments, message queues",
        """
tried("memfd", lambda: os.memfd_create("name"))
tried("segment", lambda: call("shmget", 0, 1 << 30, 0o1600))
tried("queue", lambda: call("msgget", 0, 0o1600))
tried("semaphores", lambda: call("semget", 0, 1000, 0o1600))
tried("posix queue", lambda: call("mq_open", b"name", 0o102, 0o600, None))
""",
    ),
)

PROCESS_ESCAPES = (*PROCESSES, *KERNEL)
