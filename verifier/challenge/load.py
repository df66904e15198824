"""Reading the contest's data files: strict, because a wrong constant would judge every submission wrongly."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from verifier.challenge.challenge import Challenge, LeaderboardRow, Miscount, PrefixRatio, ValidationStream

DATA = Path(__file__).parent / "data"
SCHEMA = 1
STREAM_STATUS = frozenset({"canonical", "short-export", "subset", "pre-launch", "foreign"})
CONSISTENCY = 1e-4
"""Relative difference allowed between a stream's total and tokens x bytes per token (both are published rounded)."""


class ChallengeError(Exception):
    """A data file that can't be used. The text names the file, the place in it and what is wrong."""


def load_challenge(file: Path | None = None, leaderboard: Path | None = None) -> Challenge:
    """The contest's constants and leaderboard history.

    `file` replaces the built-in constants, `leaderboard` the history (else the file that the constants name, relative to
    them). Raises `ChallengeError`.
    """
    path = file if file is not None else DATA / "parameter_golf.json"
    top = _Reader(_parse(path), str(path))
    top.schema()
    history = leaderboard if leaderboard is not None else path.parent / top.text("leaderboard")
    challenge = Challenge(
        name=top.text("name"),
        ruleset=top.day("ruleset"),
        artifact_cap=top.whole("artifact_cap"),
        train_budget=top.number("train_budget"),
        train_overshoot=top.number("train_overshoot"),
        eval_budget=top.number("eval_budget"),
        margin_nats=top.number("margin_nats"),
        margin_level=top.number("margin_level"),
        val_bytes=top.whole("val_bytes"),
        val_docs=top.whole("val_docs"),
        overlap_shards=tuple(int(value) for value in top.numbers("overlap_shards")),
        published_tokenizers=top.texts("published_tokenizers"),
        leaderboard=_read_leaderboard(history),
        streams=top.rows("streams", _read_stream),
        prefixes=top.rows("prefixes", _read_prefix),
        miscounts=top.rows("miscounts", _read_miscount),
        withdrawn_bundles=top.hashes("withdrawn_bundles"),
    )
    top.finish(also=("schema", "source", "leaderboard"))
    return challenge


def _read_leaderboard(path: Path) -> tuple[LeaderboardRow, ...]:
    top = _Reader(_parse(path), str(path))
    top.schema()
    rows = top.rows("rows", _read_row)
    top.finish(also=("schema", "compiled_from", "how"))
    return tuple(sorted(rows, key=lambda row: (row.day, -row.bpb, row.pr or 0)))


def _read_row(row: _Reader) -> LeaderboardRow:
    read = LeaderboardRow(
        day=row.day("day"),
        pr=row.whole("pr") if row.has("pr") else None,
        bpb=row.number("bpb"),
        val_loss=row.number("val_loss") if row.has("val_loss") else None,
        bpb_seeds=row.numbers("bpb_seeds"),
        loss_seeds=row.numbers("loss_seeds"),
        name=row.text("name"),
        withdrawn=row.day("withdrawn") if row.has("withdrawn") else None,
        printed=row.text("printed"),
        listed=row.day("listed") if row.has("listed") else None,
    )
    row.finish(also=("values_from",))
    if read.loss_seeds and len(read.loss_seeds) != len(read.bpb_seeds):
        raise row.error("loss_seeds", "must be empty or as long as bpb_seeds")
    if read.bpb_seeds and abs(math.fsum(read.bpb_seeds) / len(read.bpb_seeds) - read.bpb) > 1e-4:
        raise row.error("bpb", "is not the mean of bpb_seeds")
    return read


def _read_stream(row: _Reader) -> ValidationStream:
    stream = ValidationStream(
        family=row.text("family"),
        val_tokens=row.whole("val_tokens"),
        bytes_per_token=row.number("bytes_per_token"),
        total_bytes=row.number("total_bytes"),
        status=row.text("status"),
        note=row.text("note", empty=True),
    )
    row.finish()
    if stream.status not in STREAM_STATUS:
        raise row.error("status", f"must be one of {', '.join(sorted(STREAM_STATUS))}, not {stream.status!r}")
    if abs(stream.val_tokens * stream.bytes_per_token / stream.total_bytes - 1) > CONSISTENCY:
        raise row.error("total_bytes", "is not val_tokens x bytes_per_token")
    return stream


def _read_prefix(row: _Reader) -> PrefixRatio:
    prefix = PrefixRatio(row.text("family"), row.whole("tokens"), row.number("low"), row.number("high"))
    row.finish()
    if prefix.low > prefix.high:
        raise row.error("low", "is above high")
    return prefix


def _read_miscount(row: _Reader) -> Miscount:
    miscount = Miscount(row.text("family"), row.text("cause"), row.number("bytes_per_token"), row.text("note"))
    row.finish()
    return miscount


def _parse(path: Path) -> object:
    def refuse_constant(text: str) -> float:
        raise ChallengeError(f"{path}: {text} is not a number")

    def refuse_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ChallengeError(f"{path}: {', '.join(twice)} occurs twice in one object")
        return dict(pairs)

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        raise ChallengeError(f"{path}: can't be read: {failure}") from failure
    try:
        parsed: object = json.loads(text, parse_constant=refuse_constant, object_pairs_hook=refuse_duplicates)
    except (json.JSONDecodeError, RecursionError) as failure:
        raise ChallengeError(f"{path}: not JSON: {failure}") from failure
    return parsed


class _Reader:
    """One JSON object with its place, for messages. Every key must be read or named in `finish`: a typo is an error."""

    def __init__(self, value: object, place: str) -> None:
        if not isinstance(value, Mapping):
            raise ChallengeError(f"{place}: must be an object")
        self._values = value
        self._place = place
        self._seen: set[str] = set()

    def error(self, key: str, message: str) -> ChallengeError:
        return ChallengeError(f"{self._place}: {key}: {message}")

    def has(self, key: str) -> bool:
        """Whether the key is there with a value (null counts as absent)."""
        self._seen.add(key)
        return self._values.get(key) is not None

    def _get(self, key: str) -> object:
        if not self.has(key):
            raise self.error(key, "is missing")
        return self._values[key]

    def text(self, key: str, *, empty: bool = False) -> str:
        value = self._get(key)
        if not isinstance(value, str) or not (value or empty):
            raise self.error(key, "must be text")
        return value

    def day(self, key: str) -> str:
        value = self.text(key)
        try:
            day = datetime.date.fromisoformat(value)
        except ValueError as failure:
            raise self.error(key, f"must be a day such as 2026-04-09, not {value!r}") from failure
        return day.isoformat()

    def number(self, key: str) -> float:
        return self._positive(key, self._get(key))

    def whole(self, key: str) -> int:
        value = self._get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise self.error(key, "must be a positive whole number")
        return value

    def numbers(self, key: str) -> tuple[float, ...]:
        value = self._get(key)
        if not isinstance(value, list):
            raise self.error(key, "must be a list of numbers")
        return tuple(self._positive(key, item) for item in value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self.error(key, "must be a list of texts")
        return tuple(value)

    def hashes(self, key: str) -> dict[str, str]:
        value = self._get(key)
        if not isinstance(value, Mapping):
            raise self.error(key, "must be an object: sha256 -> what the file is")
        for digest, what in value.items():
            if len(digest) != 64 or not set(digest) <= set("0123456789abcdef") or not isinstance(what, str):
                raise self.error(key, f"{digest!r} is not a lower-case sha256 with a text")
        return dict(value)

    def rows[Row](self, key: str, read: Callable[[_Reader], Row]) -> tuple[Row, ...]:
        value = self._get(key)
        if not isinstance(value, list):
            raise self.error(key, "must be a list of objects")
        return tuple(read(_Reader(item, f"{self._place}: {key}[{index}]")) for index, item in enumerate(value))

    def schema(self) -> None:
        if self.whole("schema") != SCHEMA:
            raise self.error("schema", f"this version reads schema {SCHEMA}")

    def finish(self, also: tuple[str, ...] = ()) -> None:
        unknown = sorted(set(self._values) - self._seen - set(also))
        if unknown:
            raise ChallengeError(f"{self._place}: unknown key {', '.join(unknown)}")

    def _positive(self, key: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise self.error(key, f"must be a positive number, not {value!r}")
        return float(value)
