"""A ten-piece tokenizer with one token of each class: what a script's table builder is shown to see what it makes of them."""

from __future__ import annotations

from dataclasses import dataclass

SPACE = "\u2581"


@dataclass(frozen=True, slots=True)
class SamplePiece:
    """`bytes` is the truth: UTF-8 bytes of the decoded text, a word start's space included."""

    piece: str
    kind: str
    bytes: int


PIECES = (
    SamplePiece("<unk>", "unknown", 0),
    SamplePiece("<s>", "control", 0),
    SamplePiece("</s>", "control", 0),
    SamplePiece("<0xC3>", "byte", 1),
    SamplePiece("<extra_0>", "unused", 0),
    SamplePiece(SPACE, "word start", 1),
    SamplePiece(SPACE + "the", "word start", 4),
    SamplePiece("ing", "inner", 3),
    SamplePiece("\u00e9", "inner", 2),
    SamplePiece(SPACE + "\u00e9t\u00e9", "word start", 6),
)
WORD, INNER, ACCENT, BYTE, CONTROL = 6, 7, 8, 3, 1
"""Positions of the pieces that tell one mistake from another."""


def answer(method: str, argument: object) -> object:
    """What a SentencePiece processor with these pieces answers; raises KeyError for a method that is not modelled."""
    name = method.replace("_", "").lower()
    if name in ("vocabsize", "getpiecesize", "piecesize"):
        return len(PIECES)
    if name in ("unkid", "bosid", "eosid", "padid"):
        return {"unkid": 0, "bosid": 1, "eosid": 2, "padid": -1}[name]
    if name == "piecetoid":
        return next((index for index, sample in enumerate(PIECES) if sample.piece == argument), 0)
    if not isinstance(argument, int) or not 0 <= argument < len(PIECES):
        raise KeyError(method)
    sample = PIECES[argument]
    if name == "idtopiece":
        return sample.piece
    kinds = {"iscontrol": "control", "isunknown": "unknown", "isunused": "unused", "isbyte": "byte"}
    return sample.kind == kinds[name]
