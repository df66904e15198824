"""Capcode at numpy speed: a table of what each token writes and which state it leaves, for each state it may meet.

A token is a piece of the encoded text, so a decoder state runs across tokens. Most tokens leave the same state whatever
they met: the states of all tokens are guessed from that, then corrected where a guess was wrong until nothing changes.
The result is the state sequence of the scalar decoder, since it satisfies every step of it from the known start of each
document.

One thing does not fit the table: a character split over tokens while a mark is pending. Documents in which that happens
are decoded again by the scalar decoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from audits.bytes.capcode import DELETE_MARK, STATES, Decoder, State, decode_level1, rune_size, step
from audits.bytes.model import Decoded, Ids, check_ids
from audits.bytes.pieces import PieceTable

MAX_ROUNDS = 64
"""Corrections in step before the few chains that are left are followed one token at a time."""
MAX_MEMO = 1 << 18
"""Remembered steps of the scalar decoder."""


class Transducer:
    """Tables for one vocabulary. Entry `len(stored)` stands for every id outside the vocabulary: nothing written."""

    def __init__(self, stored: Sequence[bytes], level: int) -> None:
        self._stored = [*stored, b""]
        self._width = len(self._stored)
        self._level = level
        states = (State(),) if level == 0 else STATES[:2] if level == 1 else STATES
        pieces: list[bytes] = []
        after: list[int] = []
        split: list[bool] = []
        for state in states:
            for token in self._stored:
                written, left, hard = _run(token, state, level)
                pieces.append(written)
                after.append(left)
                split.append(hard)
        self._table = PieceTable(pieces)
        self._after: NDArray[np.uint8] = np.array(after, dtype=np.uint8)
        self._split: NDArray[np.bool_] = np.array(split, dtype=np.bool_)
        # What each token loses to a pending mark, by the same index; states with odd codes have one pending.
        sizes = self._table.lengths.astype(np.int64).reshape(len(states), self._width)
        lost = np.zeros_like(sizes)
        lost[1::2] = sizes[: len(states) - 1 : 2] - sizes[1::2]
        self._lost = lost.reshape(-1)
        mark = b"D" if level == 2 else bytes([DELETE_MARK])
        self._passes: NDArray[np.bool_] = np.array([mark not in token for token in self._stored])
        self._any_split = bool(self._split.any())
        self._memo: dict[tuple[int, bytes, int], tuple[int, bytes, bytes, bytes]] = {}
        self._cut = [_ends_cut(token) for token in self._stored]

    def decode(self, ids: Ids, starts: NDArray[np.intp]) -> Decoded:
        """See `TokenModel.decode`. Ids outside the vocabulary write nothing and change nothing."""
        check_ids(ids, None)
        outside = len(ids) and int(ids.max()) >= self._width - 1
        known: NDArray[np.integer] = np.minimum(ids, self._width - 1) if outside else ids
        if self._level == 0:
            data, lengths, uses = self._table.join(known)
            return Decoded(data, lengths, uses, uses * self._table.lengths)
        index = known.astype(np.intp)
        first = _borders(len(index), starts)
        state = self._states(index, first)
        chosen = state.astype(np.intp)
        chosen *= self._width
        chosen += index
        data, lengths, uses = self._table.join(chosen)
        counts = uses.reshape(-1, self._width).sum(axis=0)
        truth = (uses * self._table.lengths).reshape(-1, self._width).sum(axis=0)
        if self._any_split:
            hard = np.flatnonzero(self._split.take(chosen))
            if hard.size:
                data = self._redo(index, state, first, hard, data, lengths, truth)
        return Decoded(data, lengths, counts, truth, swallowed=self._swallowed(index, state, chosen))

    def _swallowed(self, index: NDArray[np.intp], state: NDArray[np.uint8], chosen: NDArray[np.intp]) -> NDArray[np.int64]:
        """Bytes that a pending delete mark took from a token, charged to the token that left the mark open."""
        victims = np.flatnonzero((state & 1).view(np.bool_))
        lost = self._lost.take(chosen.take(victims))
        owners = victims - 1
        # Case marks and dead ids between the two only pass the pending mark on.
        passed = np.flatnonzero((state.take(owners) & 1).astype(np.bool_) & self._passes.take(index.take(owners)))
        while passed.size:
            owners[passed] -= 1
            at = owners[passed]
            passed = passed[(state[at] & 1).astype(np.bool_) & self._passes[index[at]]]
        taken = np.bincount(index[owners], weights=lost, minlength=self._width)
        given = np.bincount(index[victims], weights=lost, minlength=self._width)
        return (taken - given).astype(np.int64)

    def cut(self, ids: Ids, starts: NDArray[np.intp]) -> int:
        """The last character border that is met in the state of a fresh document."""
        check_ids(ids, None)
        if self._level == 0 or not len(ids):
            return len(ids)
        index = np.minimum(ids, self._width - 1).astype(np.intp)
        first = _borders(len(index), starts)
        state = self._states(index, first)
        hard = np.flatnonzero(self._split.take(index + state.astype(np.intp) * self._width))
        fit = np.append(state == 0, False)
        # Inside a stretch that had to be decoded again the table's states are in doubt.
        for begin, _, growth in self._stretches(index, state, first, hard):
            fit[begin + 1 : begin + len(growth) + bool(first[begin + len(growth)])] = False
        for at in np.flatnonzero(fit)[::-1].tolist():
            if first[at] or not self._cut[index[at - 1]]:
                return int(at)
        return 0

    def _states(self, index: NDArray[np.intp], first: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """The state that each token meets. `first` marks document starts and, at its end, the border after the last
        token.
        """
        state = np.zeros(len(index), dtype=np.uint8)
        if not len(index):
            return state
        state[1:] = self._after.take(index[:-1])
        state[first[:-1]] = 0
        left = self._after.take(index + state.astype(np.intp) * self._width)
        wrong = np.flatnonzero(left[:-1] != state[1:]) + 1
        wrong = wrong[~first[wrong]]
        value = left[wrong - 1]
        rounds = 0
        while wrong.size:
            if rounds == MAX_ROUNDS:
                self._follow(index, first, state, wrong, value)
                break
            state[wrong] = value
            reached = self._after.take(index[wrong] + value.astype(np.intp) * self._width)
            following = wrong + 1
            open_ = ~first[following]
            following, reached = following[open_], reached[open_]
            differs = state[following] != reached
            wrong, value = following[differs], reached[differs]
            rounds += 1
        return state

    def _follow(
        self,
        index: NDArray[np.intp],
        first: NDArray[np.bool_],
        state: NDArray[np.uint8],
        wrong: NDArray[np.intp],
        value: NDArray[np.uint8],
    ) -> None:
        for begin, entered in zip(wrong.tolist(), value.tolist(), strict=True):
            at, current = begin, entered
            while at < len(index) and (at == begin or not first[at]) and (at == begin or state[at] != current):
                state[at] = current
                current = int(self._after[int(index[at]) + current * self._width])
                at += 1

    def _redo(
        self,
        index: NDArray[np.intp],
        state: NDArray[np.uint8],
        first: NDArray[np.bool_],
        hard: NDArray[np.intp],
        data: NDArray[np.uint8],
        lengths: NDArray[np.int32],
        truth: NDArray[np.int64],
    ) -> NDArray[np.uint8]:
        """Decode again, by the definition, the stretches around the tokens `hard`; corrects `lengths` and `truth` in
        place.
        """
        ends = np.cumsum(lengths, dtype=np.int64)
        parts: list[NDArray[np.uint8]] = []
        kept = 0
        for begin, text, growth in self._stretches(index, state, first, hard):
            done = begin + len(growth)
            parts += [data[kept : int(ends[begin] - lengths[begin])], np.frombuffer(text, dtype=np.uint8)]
            kept = int(ends[done - 1])
            np.add.at(truth, index[begin:done], np.array(growth, dtype=np.int64) - lengths[begin:done])
            lengths[begin:done] = growth
        parts.append(data[kept:])
        return np.concatenate(parts)

    def _stretches(
        self, index: NDArray[np.intp], state: NDArray[np.uint8], first: NDArray[np.bool_], hard: NDArray[np.intp]
    ) -> Iterator[tuple[int, bytes, list[int]]]:
        """(first token, bytes, growth with each token) of each stretch that the table gets wrong.

        A stretch begins where the table is known to be right (a document start, or a character border met in an inert
        state) and ends where the scalar decoder, with no character in hand, meets the state that the table has there;
        the next stretch may begin there, too.
        """
        done = 0
        for position in hard.tolist():
            if position < done:
                continue
            begin = position
            while begin > done and not first[begin] and (not STATES[state[begin]].inert or self._cut[index[begin - 1]]):
                begin -= 1
            text, growth = self._scalar(index, state, first, begin, position)
            done = begin + len(growth)
            yield begin, text, growth

    def _scalar(
        self, index: NDArray[np.intp], state: NDArray[np.uint8], first: NDArray[np.bool_], begin: int, through: int
    ) -> tuple[bytes, list[int]]:
        """(bytes, growth of the decoded text with each token) from `begin` past `through`, to where the table holds
        again.
        """
        code, tail = int(state[begin]), b""
        out: list[bytes] = []
        growth: list[int] = []
        waiting = 0
        at = begin
        while True:
            code, tail, written, pending = self._step(code, tail, int(index[at]))
            out.append(written)
            growth.append(len(written) + len(pending) - waiting)
            waiting = len(pending)
            at += 1
            if first[at] or (at > through and not tail and code == state[at]):
                out.append(pending)
                return b"".join(out), growth

    def _step(self, code: int, tail: bytes, token: int) -> tuple[int, bytes, bytes, bytes]:
        """One token by the scalar decoder, remembered: (state, bytes held back, bytes written, what these would
        write).
        """
        key = (code, tail, token)
        known = self._memo.get(key)
        if known is None:
            decoder = Decoder(STATES[code], tail)
            written = decoder.feed(self._stored[token])
            known = (decoder.state.code, decoder.tail, written, decoder.pending())
            if len(self._memo) < MAX_MEMO:
                self._memo[key] = known
        return known


def _borders(tokens: int, starts: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Document starts as flags, shape (tokens + 1,): the begin and the end of the row are borders, too."""
    first = np.zeros(tokens + 1, dtype=np.bool_)
    first[starts[starts < tokens]] = True
    first[[0, -1]] = True
    return first


def _ends_cut(token: bytes) -> bool:
    """Whether the token ends inside a character that the next token may complete."""
    return any(rune_size(token, at) == 0 for at in range(max(0, len(token) - 3), len(token)))


def _run(token: bytes, state: State, level: int) -> tuple[bytes, int, bool]:
    """(bytes written, code of the state left, whether neighbours could change either) for one token met in one
    state.
    """
    if level == 0:
        return token, 0, False
    if level == 1:
        prefix = bytes([DELETE_MARK]) if state.delete else b""
        pending = token.endswith(bytes([DELETE_MARK])) or (state.delete and not token)
        return decode_level1(prefix + token), int(pending), False
    out: list[bytes] = []
    hard = False
    at = 0
    while at < len(token):
        size = rune_size(token, at)
        # A broken or cut character may be joined by the neighbouring token; that matters unless it is written as it
        # stands.
        if token[at] >= 0x80 and size < 2 and not state.inert:
            hard = True
        state, written = step(state, token[at : at + max(size, 1)])
        out.append(written)
        at += max(size, 1)
    return b"".join(out), state.code, hard
