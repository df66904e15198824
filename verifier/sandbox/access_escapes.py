"""Attempts to reach the network and files from inside.

One that succeeds does no harm but to the bait: nothing here ends, empties or remounts what belongs to the machine.
"""

from __future__ import annotations

from verifier.sandbox.attempt import Attempt

NETWORK = (
    Attempt(
        "tcp-connect",
        "network",
        "connect to a server on this machine",
        """
def connect():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        made.settimeout(2)
        made.connect(("127.0.0.1", host["tcp"]))
tried("connect", connect)
""",
    ),
    Attempt(
        "tcp-listen",
        "network",
        "open a port",
        """
def listen():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        made.bind(("0.0.0.0", 0))
        made.listen()
tried("listen", listen)
""",
    ),
    Attempt(
        "udp-send",
        "network",
        "send a datagram to this machine",
        """
def send():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.sendto(b"hello", ("127.0.0.1", host["udp"]))
tried("send", send)
""",
    ),
    Attempt("dns", "network", "resolve a name", 'tried("resolve", lambda: socket.getaddrinfo("example.com", 80))'),
    Attempt(
        "other-families",
        "network",
        "sockets of every other family: IPv6, raw, packet, netlink, Bluetooth, vsock, crypto",
        """
for family in [*range(2, 46)]:
    for kind in (1, 2, 3):
        try:
            socket.socket(family, kind).close()
        except OSError:
            continue
        say("escaped: family", family, "kind", kind)
say("held: no family but local sockets")
""",
    ),
    Attempt(
        "abstract-socket",
        "network",
        "connect to an abstract local socket of the host",
        """
def connect():
    with socket.socket(socket.AF_UNIX) as made:
        made.connect("\\0" + host["abstract"])
tried("connect", connect)
""",
    ),
    Attempt(
        "local-socket",
        "network",
        "connect to a local socket by its path, as that of a container daemon",
        """
def connect():
    with socket.socket(socket.AF_UNIX) as made:
        made.connect(host["unix"])
tried("connect", connect)
""",
    ),
)

FILES = (
    Attempt(
        "home-listing",
        "files",
        "list the real home folder",
        """
try:
    seen = sorted(set(os.listdir(host["home"])) & set(host["hidden"]))
except OSError as failure:
    say("held:", failure)
else:
    say("escaped:" if seen else "held:", len(seen), "names seen")
""",
    ),
    Attempt(
        "home-secrets",
        "files",
        "read keys and tokens",
        """
names = (".ssh/id_rsa", ".ssh/id_ed25519", ".ssh/authorized_keys", ".netrc", ".aws/credentials", ".bash_history", ".bashrc")
for name in names:
    tried(name, lambda: open(host["home"] + "/" + name, "rb").read(16))
tried("secret", lambda: open(host["secret"]).read())
""",
    ),
    Attempt(
        "shadow",
        "files",
        "read password hashes",
        """
for name in ("/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/ssh/ssh_host_ed25519_key", "/etc/machine-id"):
    tried(name, lambda: open(name, "rb").read(16))
""",
    ),
    Attempt(
        "git-folder",
        "files",
        "read the repository that the verifier runs from",
        """
if host["git"]:
    tried("HEAD", lambda: open(host["git"] + "/HEAD").read())
    tried("config", lambda: open(host["git"] + "/config").read())
else:
    say("n/a: no repository")
""",
    ),
    Attempt(
        "write-outside",
        "files",
        "create files outside the scratch folders",
        """
for folder in (host["outside"], "/", "/usr", "/usr/local/bin", "/etc", "/var/tmp", "/dev", "/run", "/proc", "/sys", "/home",
               host["home"], host["package"], sys.base_prefix):
    path = folder + "/" + host["marker"]
    tried(folder, lambda: (open(path, "w").close(), os.unlink(path)))
""",
    ),
    Attempt(
        "change-outside",
        "files",
        "empty, rename, remove, re-date files outside and change their modes",
        """
secret = host["secret"]
actions = [lambda: os.truncate(secret, 0), lambda: os.unlink(secret), lambda: os.rename(secret, secret + "2"),
           lambda: open(secret, "r+b").close(), lambda: os.open(secret, os.O_RDONLY | os.O_TRUNC),
           lambda: os.mkdir(host["outside"] + "/new"), lambda: os.rename(host["outside"], host["outside"] + "2"),
           lambda: open(host["package"] + "/run.py", "ab").close(), lambda: open("/etc/passwd", "ab").close()]
for at, action in enumerate(actions):
    tried("change " + str(at), action)
# Answered with success or not, the file outside is looked at afterwards.
for action in (lambda: os.chmod(secret, 0o777), lambda: os.utime(secret, (1, 1)), lambda: os.chmod(host["outside"], 0o777),
               lambda: os.setxattr(secret, "user.x", b"x")):
    try:
        action()
    except OSError:
        pass
""",
    ),
    Attempt(
        "host-tmp",
        "files",
        "write to /tmp and /dev/shm of the host",
        """
for folder in ("/tmp", "/var/tmp", "/dev/shm", os.environ["TMPDIR"]):
    try:
        open(folder + "/" + host["marker"], "w").close()
    except OSError:
        pass
say("held: looked for afterwards")
""",
    ),
    Attempt(
        "symlink-out",
        "files",
        "read and write through links that lead out, and leave them as results",
        """
os.symlink(host["secret"], "link")
os.symlink(host["outside"], "folder")
os.symlink("/proc/self/root" + host["secret"], "root")
tried("read", lambda: open("link").read())
tried("list", lambda: os.listdir("folder"))
tried("write", lambda: open("folder/" + host["marker"], "w").close())
tried("root", lambda: open("root").read())
""",
    ),
    Attempt(
        "hard-link",
        "files",
        "give a file outside a second name inside",
        """
tried("link", lambda: os.link(host["secret"], "name"))
tried("link to a program", lambda: os.link("/usr/bin/env", "env"))
""",
    ),
    Attempt(
        "set-uid",
        "files",
        "gain rights from a set-uid program",
        """
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
for name, wanted in (("NoNewPrivs", "1"), ("CapEff", "0" * 16), ("CapPrm", "0" * 16), ("CapInh", "0" * 16), ("Seccomp", "2")):
    say("held:" if status[name].strip() == wanted else "escaped:", name, status[name].strip())
""",
    ),
    Attempt(
        "devices",
        "files",
        "open disks, memory, terminals and other devices, or make one",
        """
import stat
for folder in ("/dev", "/dev/pts", "/dev/net", "/dev/disk", "/dev/mapper"):
    try:
        names = os.listdir(folder)
    except OSError:
        names = ["tty", "ptmx", "mem", "kmsg", "vda", "sda", "nvme0n1", "fuse", "kvm", "tun", "loop-control", "0", "console"]
    for name in names:
        path = folder + "/" + name
        if path in ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/fd", "/dev/shm"):
            continue
        if os.path.isdir(path):
            continue
        tried(path, lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK))
tried("mknod", lambda: os.mknod("disk", stat.S_IFBLK | 0o600, os.makedev(8, 0)))
""",
    ),
    Attempt(
        "kernel-files",
        "files",
        "write to the kernel's settings under /proc and /sys",
        """
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger", "/proc/sys/vm/overcommit_memory",
             "/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs", "/sys/power/state", "/sys/devices/system/cpu/cpu0/online"):
    tried(path, lambda: os.open(path, os.O_WRONLY))
for path in ("/proc/kcore", "/proc/kmsg", "/sys/kernel/debug/tracing/trace", "/sys/firmware/efi/efivars"):
    tried(path, lambda: os.open(path, os.O_RDONLY))
""",
    ),
    Attempt(
        "file-handles",
        "files",
        "open a file by its handle, past every check on paths",
        """
handle = ctypes.create_string_buffer((128).to_bytes(4, "little") + bytes(140))
mount = ctypes.c_int()
tried("name", lambda: call("name_to_handle_at", -100, b"/usr", handle, ctypes.byref(mount), 0))
tried("open", lambda: call("open_by_handle_at", -100, handle, 0))
""",
    ),
    Attempt(
        "inherited-descriptors",
        "files",
        "use files that whoever started it had open",
        """
for number in range(3, 512):
    try:
        os.fstat(number)
    except OSError:
        continue
    say("escaped: descriptor", number)
say("held:", "only the three streams")
tried("standard input", lambda: 1 / len(os.read(0, 1)) if os.read(0, 1) else (_ for _ in ()).throw(OSError("empty")))
""",
    ),
    Attempt(
        "environment",
        "files",
        "find secrets in the environment",
        """
strange = sorted(set(os.environ) - {"HOME", "LANG", "LC_CTYPE", "PATH", "TMPDIR", "USER"})
say("escaped:" if strange else "held:", "variables", *strange)
home = os.environ["HOME"]
say("escaped:" if home == host["home"] or os.listdir(home) else "held:", "home", home)
""",
    ),
)

ACCESS_ESCAPES = (*NETWORK, *FILES)
