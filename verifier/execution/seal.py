"""Whether a record is what its recorder wrote, to the last byte.

The recorder signs each file with a key that only it and this side know (HMAC-SHA256). A record that something else appended to, cut
or replaced has no fitting seal, and neither has that of a run which did not end by itself.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from pathlib import Path

SEAL = "seal.json"
CHUNK = 1 << 20


def new_key() -> str:
    """A key for one run, in hexadecimal digits."""
    return secrets.token_hex(16)


def is_sealed(folder: Path, key: str) -> bool:
    """Whether the files of a record are those that were signed with this key, and there are no others signed for."""
    seal = folder / SEAL
    if seal.is_symlink() or not seal.is_file() or seal.stat().st_size > 10_000:
        return False
    try:
        signed = json.loads(seal.read_text(encoding="ascii"))
    except (ValueError, RecursionError):
        return False
    if not isinstance(signed, dict) or "events.jsonl" not in signed:
        return False
    return all(
        isinstance(digest, str) and name == Path(name).name and hmac.compare_digest(sign(folder / name, key), digest)
        for name, digest in signed.items()
    )


def sign(path: Path, key: str) -> str:
    """Signature of a file; of one that is not there, empty."""
    if path.is_symlink() or not path.is_file():
        return ""
    running = hmac.new(bytes.fromhex(key), digestmod=hashlib.sha256)
    with path.open("rb") as file:
        while part := file.read(CHUNK):
            running.update(part)
    return running.hexdigest()
