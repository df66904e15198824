"""Tokenizer, metadata and artifact files: recognised by their bytes, hashed, never loaded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BinaryFile:
    """`kind` is `sentencepiece`, `tokenmonster`, `tokenmonster-yaml`, `npz`, `npy`, `torch-zip`, `pickle`, `safetensors`,
    `archive`, `compressed` or `unknown`. `arrays` lists an npz's members as (name, dtype, shape); a member that holds pickled
    objects has dtype `object` and is never read. `vocab_size` where the format says it."""

    path: str
    kind: str
    size: int
    sha256: str | None
    vocab_size: int | None = None
    arrays: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
