"""Capcode at numpy speed: a table of what each token writes and which state it leaves, for each state it may meet.

A token is a piece of the encoded text, so a decoder state runs across tokens. Most tokens leave the same state whatever
they met: the states of all tokens are guessed from that, then corrected where a guess was wrong until nothing changes.
The result is the state sequence of the scalar decoder, since it satisfies every step of it from the known start of each
document.

A state of the table is a decoder state with the bytes of a character that is not complete. These bytes are written at
once, as if the text ended there; mostly that is what the complete character writes, too. Where it is not (a character
split over tokens that a delete mark swallows or whose capital begins with another byte), the stretch around it is
decoded again by the scalar decoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from audits.bytes.capcode import DELETE_MARK, STATES, Decoder, State, decode_level1, rune_size, step
from audits.bytes.model import Decoded, Ids, check_ids
from audits.bytes.pieces import PieceTable, Row, Written

MAX_ROUNDS = 64
"""Corrections in step before the few chains that are left are followed one token at a time."""
MAX_MEMO = 1 << 18
"""Remembered steps of the scalar decoder."""
MAX_STATES = 96
"""Rows of the table; further characters in pieces are left to the scalar decoder."""


class _Rows:
    """The table while it is built. `states`: (decoder state, bytes of an incomplete character); row n of `written`,
    `after` and `split` says what each token does in state n: the bytes it writes, the state it leaves, and whether the
    row cannot be relied on there.
    """

    def __init__(self, stored: Sequence[bytes], level: int) -> None:
        states = (State(),) if level == 0 else STATES[:2] if level == 1 else STATES
        self.states: list[tuple[State, bytes]] = [(state, b"") for state in states]
        self.written: list[bytes] = []
        self.after: list[int] = []
        self.split: list[bool] = []
        self._number = {state: number for number, state in enumerate(self.states)}
        for state, tail in self.states:  # grows while it is walked
            flushed = _raw(state, tail).code if tail else 0
            for token, text in enumerate(stored):
                if level == 0:
                    self._add(text, 0, False)
                elif level == 1:
                    self._add(*_run_level1(text, state))
                elif tail and text and not 0x80 <= text[0] <= 0xBF:
                    # The character is broken off: from here on as after its bytes.
                    same = flushed * len(stored) + token
                    self._add(self.written[same], self.after[same], self.split[same])
                else:
                    self._add(*self._run(text, state, tail))

    def _add(self, written: bytes, after: int, split: bool) -> None:
        self.written.append(written)
        self.after.append(after)
        self.split.append(split)

    def _run(self, text: bytes, state: State, tail: bytes) -> tuple[bytes, int, bool]:
        if not text:
            return b"", self._number[state, tail], False
        decoder = Decoder(state, tail)
        before = decoder.pending()
        whole = decoder.feed(text) + decoder.pending()
        left = (decoder.state, decoder.tail)
        split = not whole.startswith(before)
        if left[1]:
            left, known = self._enter(*left)
            split = split or not known
        return whole[len(before) :], self._number[left], split

    def _enter(self, state: State, tail: bytes) -> tuple[tuple[State, bytes], bool]:
        """The state of the table for an incomplete character, and whether it stands for it truly."""
        # What it was that followed a mark directly has no say after the next character.
        left = (state._replace(ignore=False), tail)
        if left in self._number:
            return left, True
        # An inert state writes a character as it stands, in one piece or in several.
        if state.inert or state.delete or len(self.states) == MAX_STATES:
            return (_raw(state, tail), b""), state.inert
        self._number[left] = len(self.states)
        self.states.append(left)
        return left, True


def _raw(state: State, data: bytes) -> State:
    """The state after bytes that belong to no character."""
    for value in data:
        state, _ = step(state, bytes([value]))
    return state


def _run_level1(text: bytes, state: State) -> tuple[bytes, int, bool]:
    mark = bytes([DELETE_MARK])
    pending = text.endswith(mark) or (state.delete and not text)
    return decode_level1((mark if state.delete else b"") + text), int(pending), False


class Transducer:
    """Tables for one vocabulary. Entry `len(stored)` stands for every id outside the vocabulary: nothing written."""

    def __init__(self, stored: Sequence[bytes], level: int) -> None:
        self._stored = [*stored, b""]
        self._width = len(self._stored)
        self._level = level
        rows = _Rows(self._stored, level)
        states = len(rows.states)
        self._table = PieceTable(rows.written)
        self._after: NDArray[np.uint8] = np.array(rows.after, dtype=np.uint8)
        self._split: NDArray[np.bool_] = np.array(rows.split, dtype=np.bool_)
        self._states_of = rows.states
        self._row_of = np.arange(256, dtype=np.intp) * self._width
        self._pending: NDArray[np.bool_] = np.array([state.delete for state, _ in rows.states])
        # What each token loses to a pending mark, by the same index: row n + 1 is row n with one pending, up to `STATES`.
        sizes = self._table.lengths.astype(np.int64).reshape(states, self._width)
        lost = np.zeros_like(sizes)
        marked = np.flatnonzero(self._pending)
        lost[marked] = sizes[marked - 1] - sizes[marked]
        self._lost = lost.reshape(-1)
        mark = b"D" if level == 2 else bytes([DELETE_MARK])
        self._passes: NDArray[np.bool_] = np.array([mark not in token for token in self._stored])
        self._hard = np.flatnonzero(self._split)
        self._memo: dict[tuple[int, bytes, int], tuple[int, bytes, bytes, bytes]] = {}
        self._cut = [_ends_cut(token) for token in self._stored]

    def decode(self, ids: Ids, starts: NDArray[np.intp]) -> Decoded:
        """See `TokenModel.decode`. Ids outside the vocabulary write nothing and change nothing."""
        check_ids(ids, None)
        index = self._indices(ids)
        if self._level == 0:
            plain = self._table.row(index, starts)
            return Decoded(plain, plain.uses, plain.uses * self._table.lengths)
        state = self._states(index, starts)
        chosen = self._row_of.take(state)
        chosen += index
        plain = self._table.row(chosen, starts)
        uses = plain.uses
        counts = uses.reshape(-1, self._width).sum(axis=0)
        truth = (uses * self._table.lengths).reshape(-1, self._width).sum(axis=0)
        row: Row | Written = plain
        if uses[self._hard].any():
            row = self._redo(index, state, starts, np.flatnonzero(self._split.take(chosen)), plain, truth)
        swallowed = self._swallowed(index, state, chosen, uses)
        return Decoded(row, counts, truth, swallowed=swallowed)

    def _indices(self, ids: Ids) -> NDArray[np.intp]:
        """The ids as table columns: all ids outside the vocabulary share the last one."""
        last = min(self._width - 1, np.iinfo(ids.dtype).max)
        return np.minimum(ids, ids.dtype.type(last)).astype(np.intp)

    def _swallowed(
        self, index: NDArray[np.intp], state: NDArray[np.uint8], chosen: NDArray[np.intp], uses: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Bytes that a pending delete mark took from a token, charged to the token that left the mark open."""
        victims = np.flatnonzero((state & 1).view(np.bool_) & (state < len(STATES)))
        lost = self._lost.take(chosen.take(victims))
        at = victims - 1
        owners = index.take(at)
        # Case marks and dead ids between the two only pass the pending mark on: whatever leaves one open without
        # having one has met one.
        passed = np.flatnonzero(self._passes.take(owners))
        while passed.size:
            at[passed] -= 1
            owners[passed] = index[at[passed]]
            passed = passed[self._passes[owners[passed]]]
        taken = np.bincount(owners, weights=lost, minlength=self._width).astype(np.int64)
        marked = slice(len(STATES) * self._width)
        given: NDArray[np.int64] = (uses[marked] * self._lost[marked]).reshape(-1, self._width).sum(axis=0)
        return taken - given

    def cut(self, ids: Ids, starts: NDArray[np.intp]) -> int:
        """The last character border that is met in the state of a fresh document."""
        check_ids(ids, None)
        if self._level == 0 or not len(ids):
            return len(ids)
        index = self._indices(ids)
        first = _borders(len(index), starts)
        state = self._states(index, starts)
        hard = np.flatnonzero(self._split.take(index + state.astype(np.intp) * self._width))
        fit = np.append(state == 0, False)
        # Inside a stretch that had to be decoded again the table's states are in doubt.
        for begin, _, growth in self._stretches(index, state, first, hard):
            fit[begin + 1 : begin + len(growth) + bool(first[begin + len(growth)])] = False
        for at in np.flatnonzero(fit)[::-1].tolist():
            if first[at] or not self._cut[index[at - 1]]:
                return int(at)
        return 0

    def _states(self, index: NDArray[np.intp], starts: NDArray[np.intp]) -> NDArray[np.uint8]:
        """The state that each token meets."""
        state = np.zeros(len(index), dtype=np.uint8)
        if not len(index):
            return state
        begins = starts[starts < len(index)]
        self._after[: self._width].take(index[:-1], out=state[1:], mode="clip")
        state[begins] = 0
        # Tokens that meet the start state leave what was guessed; the others may not.
        moved = np.flatnonzero(state[:-1] != 0)
        left = self._after.take(index.take(moved) + self._row_of.take(state.take(moved)))
        wrong = np.flatnonzero(left != state.take(moved + 1))
        if not wrong.size:
            return state
        first = _borders(len(index), starts)
        value, wrong = left[wrong], moved[wrong] + 1
        value, wrong = value[~first[wrong]], wrong[~first[wrong]]
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
        starts: NDArray[np.intp],
        hard: NDArray[np.intp],
        row: Row,
        truth: NDArray[np.int64],
    ) -> Written:
        """Decode again, by the definition, the stretches around the tokens `hard`; corrects `truth` in place."""
        (data, _), lengths = row.joined, row.lengths
        ends = np.cumsum(lengths, dtype=np.int64)
        parts: list[NDArray[np.uint8]] = []
        kept = 0
        for begin, text, growth in self._stretches(index, state, _borders(len(index), starts), hard):
            done = begin + len(growth)
            parts += [data[kept : int(ends[begin] - lengths[begin])], np.frombuffer(text, dtype=np.uint8)]
            kept = int(ends[done - 1])
            np.add.at(truth, index[begin:done], np.array(growth, dtype=np.int64) - lengths[begin:done])
            lengths[begin:done] = growth
        parts.append(data[kept:])
        ends = np.append(0, np.cumsum(lengths, dtype=np.int64))
        return Written(np.concatenate(parts), ends[np.append(starts, len(index))], lengths)

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
            while begin > done and not first[begin] and (not self._inert(state[begin]) or self._cut[index[begin - 1]]):
                begin -= 1
            text, growth = self._scalar(index, state, first, begin, position)
            done = begin + len(growth)
            yield begin, text, growth

    def _inert(self, number: np.uint8) -> bool:
        state, tail = self._states_of[number]
        return state.inert and not tail

    def _scalar(
        self, index: NDArray[np.intp], state: NDArray[np.uint8], first: NDArray[np.bool_], begin: int, through: int
    ) -> tuple[bytes, list[int]]:
        """(bytes, growth of the decoded text with each token) from `begin` past `through`, to where the table holds
        again.
        """
        current, tail = self._states_of[state[begin]]
        code = current.code
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
