"""SentencePiece `.model` files: a reader that no hostile file can crash, and a decoder equal to the library's.

Field numbers and decoding order follow the public `sentencepiece_model.proto` and the behaviour of `sentencepiece`
0.2.3, against which the tests compare. The library's parser is never run on a submitted file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audits.bytes.model import ByteAuditError, Decoded, Ids, TokenClass, check_ids
from audits.bytes.pieces import PieceTable
from audits.bytes.protobuf import fields, signed32
from verifier.limits import DEFAULT_LIMITS, Limits

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
TYPE_NAMES = {
    NORMAL: "normal",
    UNKNOWN: "unknown",
    CONTROL: "control",
    USER_DEFINED: "user_defined",
    UNUSED: "unused",
    BYTE: "byte",
}
SPACE = "\u2581".encode()
"""U+2581, which stands for a space inside pieces."""
REPLACEMENT = "\ufffd".encode()
MAX_PIECES = 1 << 20
MAX_PIECE_BYTES = 4096
BYTE_PIECES = {f"<0x{value:02X}>".encode(): value for value in range(256)}

_TRAINER_INTS = {3: "model_type", 24: "treat_whitespace_as_suffix", 35: "byte_fallback"}
_TRAINER_TEXTS = {44: "unk_surface", 46: "bos_piece"}
_NORMALIZER_INTS = {3: "add_dummy_prefix", 4: "remove_extra_whitespaces", 5: "escape_whitespaces"}
MODEL_TYPES = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What a `.model` file says. `pieces` and `types` run in id order; `charsmap` is the compiled normalisation
    table.
    """

    pieces: tuple[bytes, ...]
    types: tuple[int, ...]
    trainer: dict[str, int] = field(default_factory=dict)
    unk_surface: bytes = " \u2047 ".encode()
    bos_piece: bytes = b"<s>"
    normalizer: str = ""
    normalizer_flags: dict[str, int] = field(default_factory=dict)
    charsmap: bytes = b""
    denormalizes: bool = False

    def flag(self, name: str) -> bool:
        """A normaliser flag; the format's default is true for each of them."""
        return bool(self.normalizer_flags.get(name, 1))


def parse_model(data: bytes) -> ModelFile:
    """Read a serialised `ModelProto`. Raises `ByteAuditError` for whatever the library would refuse, or could
    misread.
    """
    pieces: list[bytes] = []
    types: list[int] = []
    trainer: dict[str, int] = {}
    flags: dict[str, int] = {}
    texts = {"unk_surface": " \u2047 ".encode(), "bos_piece": b"<s>"}
    normalizer = b""
    charsmap = b""
    denormalizes = False
    for number, value in fields(data):
        if number not in (1, 2, 3, 5):
            continue
        if not isinstance(value, tuple):
            raise ByteAuditError(f"field {number} of the model is not a message: not a SentencePiece model")
        begin, end = value
        if number == 1:
            if len(pieces) >= MAX_PIECES:
                raise ByteAuditError(f"the model has more than {MAX_PIECES} pieces")
            piece, kind = _piece(data, begin, end, len(pieces))
            pieces.append(piece)
            types.append(kind)
            continue
        for inner, item in fields(data, begin, end):
            if number == 2 and isinstance(item, int) and inner in _TRAINER_INTS:
                trainer[_TRAINER_INTS[inner]] = signed32(item)
            elif number == 2 and isinstance(item, tuple) and inner in _TRAINER_TEXTS:
                texts[_TRAINER_TEXTS[inner]] = data[item[0] : item[1]]
            elif number == 3 and isinstance(item, int) and inner in _NORMALIZER_INTS:
                flags[_NORMALIZER_INTS[inner]] = item
            elif number == 3 and isinstance(item, tuple) and inner == 1:
                normalizer = data[item[0] : item[1]]
            elif number == 3 and isinstance(item, tuple) and inner == 2:
                charsmap = data[item[0] : item[1]]
            elif number == 5 and isinstance(item, tuple) and inner == 2:
                denormalizes = denormalizes or item[1] > item[0]
    _check_pieces(pieces, types)
    _utf8(texts["unk_surface"], "the unknown token's surface")
    return ModelFile(
        tuple(pieces),
        tuple(types),
        trainer,
        texts["unk_surface"],
        texts["bos_piece"],
        normalizer.decode("utf-8", "replace"),
        flags,
        charsmap,
        denormalizes,
    )


def _piece(data: bytes, begin: int, end: int, index: int) -> tuple[bytes, int]:
    piece, kind = b"", NORMAL
    for number, value in fields(data, begin, end):
        if number == 1 and isinstance(value, tuple):
            piece = data[value[0] : value[1]]
        elif number == 3 and isinstance(value, int):
            kind = value
    if kind not in TYPE_NAMES:
        raise ByteAuditError(f"piece {index} has type {kind}, which does not exist")
    if len(piece) > MAX_PIECE_BYTES:
        raise ByteAuditError(f"piece {index} has {len(piece)} bytes, more than {MAX_PIECE_BYTES}")
    return piece, kind


def _utf8(text: bytes, what: str) -> None:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ByteAuditError(f"{what} is not UTF-8: {error.reason} at byte {error.start}") from None


def _check_pieces(pieces: list[bytes], types: list[int]) -> None:
    """The conditions under which the library loads a model, and those under which decoding is well defined."""
    if not pieces:
        raise ByteAuditError("no pieces: not a SentencePiece model")
    seen: dict[bytes, int] = {}
    for index, (piece, kind) in enumerate(zip(pieces, types, strict=True)):
        if not piece:
            raise ByteAuditError(f"piece {index} is empty")
        if piece in seen:
            raise ByteAuditError(f"pieces {seen[piece]} and {index} are the same text")
        seen[piece] = index
        _utf8(piece, f"piece {index}")
        if kind == BYTE and piece not in BYTE_PIECES:
            raise ByteAuditError(f"piece {index} is of type byte but not of the form <0xNN>")
    if types.count(UNKNOWN) != 1:
        raise ByteAuditError(f"the model has {types.count(UNKNOWN)} unknown tokens instead of one")


class SentencePieceModel:
    """Decodes as `SentencePieceProcessor.decode` does, document by document, in one vectorised pass.

    Rules: control pieces write nothing; the unknown piece writes its surface; U+2581 becomes a space, except one at the
    head of each piece while the document is still empty (only when the model adds a dummy prefix or removes extra
    whitespace); a run of byte pieces is read as UTF-8 and each byte that is not part of a character becomes U+FFFD.
    Bytes are attributed one to each byte piece of a valid character, three to an invalid one.
    """

    def __init__(self, model: ModelFile) -> None:
        if model.denormalizes:
            raise ByteAuditError("the model carries a denormaliser, which rewrites decoded text: not supported")
        self.model = model
        types = np.array(model.types, dtype=np.uint8)
        self._size = len(types)
        whole: list[bytes] = []
        opening: list[bytes] = []
        for piece, kind in zip(model.pieces, model.types, strict=True):
            whole.append(self._surface(piece, kind))
            head = piece.removeprefix(SPACE) if kind in (NORMAL, USER_DEFINED, UNUSED) else piece
            opening.append(self._surface(head, kind))
        self._table = PieceTable([*whole, *opening, REPLACEMENT])
        self._strips = model.flag("add_dummy_prefix") or model.flag("remove_extra_whitespaces")
        # A stripped mark counts as seen text only where extra whitespace is kept: then later marks stay.
        self._mark_opens = not model.flag("remove_extra_whitespaces")
        self._has_mark = np.array(
            [
                kind in (NORMAL, USER_DEFINED, UNUSED) and piece.startswith(SPACE)
                for piece, kind in zip(model.pieces, model.types, strict=True)
            ]
        )
        self._byte_value = np.array(
            [BYTE_PIECES[piece] if kind == BYTE else -1 for piece, kind in zip(model.pieces, model.types, strict=True)],
            dtype=np.int16,
        )
        self._byte_ids = np.flatnonzero(types == BYTE)
        classes = np.full(self._size, TokenClass.PLAIN, dtype=np.uint8)
        classes[types == BYTE] = TokenClass.BYTE_FALLBACK
        classes[np.isin(types, (UNKNOWN, CONTROL, UNUSED))] = TokenClass.CONTROL
        self._classes = classes

    def _surface(self, piece: bytes, kind: int) -> bytes:
        if kind == CONTROL:
            return b""
        if kind == UNKNOWN:
            return self.model.unk_surface
        if kind == BYTE:
            return bytes([BYTE_PIECES[piece]])
        return piece.replace(SPACE, b" ")

    @classmethod
    def load(cls, path: Path, limits: Limits = DEFAULT_LIMITS) -> SentencePieceModel:
        """Read a `.model` file. Raises `ByteAuditError` (too large, malformed, unsupported) or `OSError`."""
        return cls(parse_model(read_limited(path, limits)))

    @property
    def kind(self) -> str:
        return "sentencepiece"

    @property
    def size(self) -> int:
        return self._size

    @property
    def bos_id(self) -> int | None:
        for index, (piece, kind) in enumerate(zip(self.model.pieces, self.model.types, strict=True)):
            if kind == CONTROL and piece == self.model.bos_piece:
                return index
        return None

    @property
    def classes(self) -> NDArray[np.uint8]:
        return self._classes

    def label(self, token: int) -> str:
        return self.model.pieces[token].decode("utf-8") if 0 <= token < self._size else f"<id {token}>"

    def describe(self) -> dict[str, object]:
        counts = {name: self.model.types.count(kind) for kind, name in TYPE_NAMES.items()}
        return {
            "kind": self.kind,
            "vocab_size": self._size,
            "algorithm": MODEL_TYPES.get(self.model.trainer.get("model_type", 1), "unknown"),
            "pieces": {name: count for name, count in counts.items() if count},
            "normalizer": self.model.normalizer or None,
            "add_dummy_prefix": self.model.flag("add_dummy_prefix"),
            "remove_extra_whitespaces": self.model.flag("remove_extra_whitespaces"),
            "byte_fallback": bool(self.model.trainer.get("byte_fallback", 0)),
            "space_piece": SPACE in self.model.pieces,
            "bos_id": self.bos_id,
        }

    def decode(self, ids: Ids, starts: NDArray[np.intp]) -> Decoded:
        """See `TokenModel.decode`. Raises `ByteAuditError` for an id outside the table, as the library does."""
        check_ids(ids, self._size)
        index: NDArray[np.integer] = ids
        at, replaced = self._invalid_bytes(ids, starts), self._opening_marks(ids, starts)
        if at.size or replaced.size:
            index = ids.astype(np.int32)
            index[replaced] += self._size
            index[at] = 2 * self._size
        row = self._table.row(index, starts)
        used = row.uses * self._table.lengths
        counts = row.uses[: self._size] + row.uses[self._size : -1]
        truth = used[: self._size] + used[self._size : -1]
        invalid = np.bincount(ids[at], minlength=self._size)
        counts, truth = np.append(counts + invalid, 0), np.append(truth + len(REPLACEMENT) * invalid, 0)
        return Decoded(row, counts, truth)

    def cut(self, ids: Ids, starts: NDArray[np.intp]) -> int:
        """Before the last run of byte pieces, once the open document has written something."""
        check_ids(ids, self._size)
        text = np.flatnonzero(self._byte_value[ids] < 0)
        end = len(ids) if text.size == len(ids) else int(text[-1]) + 1 if text.size else 0
        begin = int(starts[-1]) if starts.size else 0
        # An opening document may still lose marks: it is cut only where it has plainly begun.
        begun = np.flatnonzero(self._table.lengths[self._size + ids[begin:end].astype(np.intp)])
        return end if begun.size or not self._strips else begin

    def _opening_marks(self, ids: Ids, starts: NDArray[np.intp]) -> NDArray[np.intp]:
        """Tokens whose leading U+2581 is dropped because nothing of their document has been written yet."""
        if not self._strips or not len(ids):
            return np.zeros(0, dtype=np.intp)
        begins = starts[starts < len(ids)]
        ends = np.append(begins[1:], len(ids))
        opening = self._table.lengths[self._size : 2 * self._size]
        found = [np.zeros(0, dtype=np.intp)]
        while begins.size:
            tokens = ids[begins]
            marked = self._has_mark[tokens]
            found.append(begins[marked])
            silent = opening[tokens] == 0
            if self._mark_opens:
                silent &= ~marked
            begins, ends = begins[silent] + 1, ends[silent]
            inside = begins < ends
            begins, ends = begins[inside], ends[inside]
        return np.concatenate(found)

    def _bytes_at(self, ids: Ids) -> NDArray[np.intp]:
        """Positions of byte pieces. Where these have consecutive ids, as in trained models, a comparison will do."""
        if self._byte_ids.size and ids.dtype == np.uint16:
            first, last = int(self._byte_ids[0]), int(self._byte_ids[-1])
            if last - first + 1 == self._byte_ids.size and last <= np.iinfo(np.uint16).max:
                return np.flatnonzero(ids - np.uint16(first) < self._byte_ids.size)
        return np.flatnonzero(self._byte_value[ids] >= 0)

    def _invalid_bytes(self, ids: Ids, starts: NDArray[np.intp]) -> NDArray[np.intp]:
        """Byte tokens that are not part of a UTF-8 character of their run."""
        at = self._bytes_at(ids)
        if not at.size:
            return at
        opens = np.ones(at.size, dtype=np.bool_)
        np.not_equal(at[1:], at[:-1] + 1, out=opens[1:])
        # A document start in the middle of bytes ends the run, too.
        cuts = np.searchsorted(at, starts)
        opens[cuts[cuts < at.size]] = True
        begins = np.flatnonzero(opens)
        run_bytes = self._byte_value[ids[at]].astype(np.uint8)
        # A line feed never occurs inside a character: the runs are all valid if and only if their joined text is.
        joined = np.insert(run_bytes, begins, 0x0A).tobytes()
        try:
            joined.decode("utf-8")
        except UnicodeDecodeError:
            pass
        else:
            return np.zeros(0, dtype=np.intp)
        bad: list[int] = []
        for begin, end in zip(begins.tolist(), [*begins[1:].tolist(), at.size], strict=True):
            bad.extend(int(at[begin + offset]) for offset in invalid_offsets(run_bytes[begin:end].tobytes()))
        return np.array(bad, dtype=np.intp)


def invalid_offsets(run: bytes) -> list[int]:
    """Offsets of the bytes of `run` that belong to no well-formed UTF-8 character (a bad head counts alone)."""
    bad: list[int] = []
    at = 0
    while at < len(run):
        try:
            run[at:].decode("utf-8")
        except UnicodeDecodeError as error:
            at += error.start
            bad.append(at)
            at += 1
        else:
            break
    return bad


def read_limited(path: Path, limits: Limits) -> bytes:
    """The whole file. Raises `ByteAuditError` above `limits.vocabulary_file` bytes; reads one byte more at most."""
    with path.open("rb") as handle:
        data = handle.read(limits.vocabulary_file + 1)
    if len(data) > limits.vocabulary_file:
        raise ByteAuditError(f"{path.name} is larger than {limits.vocabulary_file} bytes")
    return data
