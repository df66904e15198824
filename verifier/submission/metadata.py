"""submission.json: tolerant reading of every shape that occurs, with the line of each value."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from verifier.evidence import Fact, Location, Number, Problem, excerpt
from verifier.limits import DEFAULT_LIMITS, Limits
from verifier.submission.json_reader import JsonDocument, JsonKind, JsonValue, read_json, walk
from verifier.submission.metadata_keys import BYTES, SECONDS, Meaning, is_decoy, meaning_of, parse_quantity, words_of


@dataclass(frozen=True, slots=True)
class SeedClaim:
    """What the file says about one seed. `seed` is `None` when values are listed without a seed number."""

    seed: int | None
    source: Location
    val_bpb: Fact | None = None
    val_loss: Fact | None = None
    artifact_bytes: Fact | None = None
    code_bytes: Fact | None = None
    model_bytes: Fact | None = None
    steps: Fact | None = None
    train_seconds: Fact | None = None
    eval_seconds: Fact | None = None
    step_ms: Fact | None = None
    others: tuple[Fact, ...] = ()
    """Everything else numeric (pre-quant metrics, gains, ...): `name` is the key as written."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """One submission JSON. Absent or unusable values are `None`; `problems` says what was wrong."""

    path: str
    parsed: bool
    """False when no JSON object could be recovered at all."""
    strict: bool
    """True when the file is plain valid JSON (no BOM repair, no second document, no duplicates, no NaN)."""
    author: Fact | None = None
    github_id: Fact | None = None
    name: Fact | None = None
    date: Fact | None = None
    day: datetime.date | None = None
    track: Fact | None = None
    val_bpb: Fact | None = None
    val_loss: Fact | None = None
    val_bpb_std: Fact | None = None
    val_loss_std: Fact | None = None
    bytes_total: Fact | None = None
    bytes_code: Fact | None = None
    bytes_model: Fact | None = None
    bytes_total_max: Fact | None = None
    bytes_total_mean: Fact | None = None
    train_seconds: Fact | None = None
    eval_seconds: Fact | None = None
    steps: Fact | None = None
    seeds: tuple[int, ...] = ()
    seeds_source: Location | None = None
    seed_claims: tuple[SeedClaim, ...] = ()
    hardware: Fact | None = None
    status: Fact | None = None
    """What the folder calls itself: `accepted`, `retracted`, `non_record_pending`."""
    texts: tuple[Fact, ...] = ()
    """Every string long enough to carry a claim (blurb, notes, technique lists, compliance texts); `name` is the key path."""
    flags: tuple[Fact, ...] = ()
    """Every boolean with its key path, e.g. `compliance.score_first_ttt` = True."""
    decoys: tuple[Fact, ...] = ()
    """Numbers under keys that speak of something else (superseded_*, comparison_*, baseline_*, original_*, errata)."""
    problems: tuple[Problem, ...] = ()


UNITS = {"bpb": "bpb", "loss": "nats/token", "total": "bytes", "code": "bytes", "model": "bytes"}
UNITS |= {"train": "s", "eval": "s", "steps": "steps", "step_ms": "ms"}
MOST_BPB = 32.0
"""bpb above this is no score of a language model (eight bits per byte are free); such values are kept as unusable."""
MOST_VALUES = 20_000
"""Values read of one submission JSON; the largest real one has some 200."""
LONG_TEXT = 4
"""Characters from which a string may carry a claim (`none`, `zstd`)."""

_SEED_KEY = re.compile(r"(?:(?:run|train|log)[_-]?)?(?:seed|s)?[_-]?([0-9]{1,10})", re.IGNORECASE)
_DAY = re.compile(r"(?<!\d)(20\d\d)[-/_. ]?(\d{1,2})[-/_. ]?(\d{1,2})(?!\d)")
_SEED_LISTS = ("seeds", "seed_list", "seeds_run", "seeds_completed", "seeds_used")
_NESTS = (
    "results",
    "result",
    "metrics",
    "final_results",
    "headline",
    "headline_results",
    "validation",
    "evaluation",
    "score",
    "final",
)
_IDENTITY = frozenset(
    {"author", "authors", "github_id", "github_ids", "github", "date", "track", "email", "url", "pytorch_version"}
)
_FIELDS = {"bpb": "val_bpb", "loss": "val_loss", "total": "artifact_bytes", "code": "code_bytes", "model": "model_bytes"}
_FIELDS |= {"train": "train_seconds", "eval": "eval_seconds", "steps": "steps", "step_ms": "step_ms"}
_HEADLINE = {
    "val_bpb": (
        "val_bpb",
        "mean_val_bpb",
        "val_bpb_mean",
        "val_bpb_3seed_mean",
        "mean_bpb",
        "three_seed_mean_bpb",
        "validation_bpb",
    ),
    "val_loss": ("val_loss", "mean_val_loss", "val_loss_mean", "val_loss_nats", "validation_loss"),
}


def read_metadata(path: str, data: bytes, limits: Limits = DEFAULT_LIMITS) -> Metadata:
    """Read a submission JSON. Never raises on content: what can't be used is `None`, and a problem says why."""
    document = read_json(path, data, replace(limits, json_items=min(limits.json_items, MOST_VALUES)))
    if document.root is None or document.root.kind is not JsonKind.OBJECT:
        problems = document.problems or (Problem(Location(path), "invalid-json", "the file holds no JSON object"),)
        return Metadata(path, parsed=False, strict=False, problems=problems)
    return _Reader(document, document.root).read()


class _Reader:
    def __init__(self, document: JsonDocument, root: JsonValue) -> None:
        self.document = document
        self.root = root
        self.problems = list(document.problems)

    def read(self) -> Metadata:
        headline = self.headline("bpb", _HEADLINE["val_bpb"])
        seeds, seeds_source = self.seeds()
        claims = self.seed_claims(seeds, headline)
        if not seeds:
            seeds = tuple(claim.seed for claim in claims if claim.seed is not None)
            seeds_source = claims[0].source if seeds else None
        date = self.text_of("date", "submission_date", "date_submitted", "timestamp", "created")
        return Metadata(
            path=self.document.path,
            parsed=True,
            strict=self.document.strict,
            author=self.text_of("author", "authors", "author_name", "contributor", "contributors", "submitter"),
            github_id=self.text_of("github_id", "github_ids", "github", "github_username", "author_github", "github_user"),
            name=self.text_of("name", "submission_name", "title", "run_name"),
            date=date,
            day=_day_of(date),
            track=self.text_of("track", "submission_track"),
            val_bpb=headline,
            val_loss=self.headline("loss", _HEADLINE["val_loss"]),
            val_bpb_std=self.aggregate("bpb", "std"),
            val_loss_std=self.aggregate("loss", "std"),
            bytes_total=self.quantity("total", ("bytes_total", "artifact_bytes", "artifact_size_bytes", "total_bytes")),
            bytes_code=self.quantity("code", ("bytes_code", "code_bytes", "code_size_bytes")),
            bytes_model=self.quantity("model", ("bytes_model", "model_bytes", "bytes_model_compressed")),
            bytes_total_max=self.aggregate("total", "max"),
            bytes_total_mean=self.aggregate("total", "mean"),
            train_seconds=self.quantity(
                "train", ("train_time_seconds", "training_time_seconds", "train_time_s", "train_time_ms")
            ),
            eval_seconds=self.quantity("eval", ("eval_time_seconds", "eval_time_s", "total_eval_time_s", "eval_time_ms")),
            steps=self.quantity("steps", ("steps", "step_stop", "training_steps", "train_steps")),
            seeds=tuple(dict.fromkeys(seeds)),
            seeds_source=seeds_source,
            seed_claims=claims,
            hardware=self.text_of("hardware", "gpu", "gpu_type", "hardware_used", "gpus"),
            status=self.text_of("status"),
            texts=tuple(self.texts()),
            flags=tuple(self.flags()),
            decoys=tuple(self.decoys()),
            problems=tuple(dict.fromkeys(self.problems)),
        )

    def fact(self, name: str, value: float | int | str | bool, unit: str, at: JsonValue, seed: int | None = None) -> Fact:
        return Fact(name, value, unit, self.document.locate(at), seed, at.text)

    def measure(self, key: str, value: JsonValue, meaning: Meaning, name: str, seed: int | None = None) -> Fact | None:
        """A usable number of that meaning in its base unit, else `None`; text that is no number is a problem."""
        units = SECONDS if meaning.quantity in ("train", "eval") else BYTES if UNITS[meaning.quantity] == "bytes" else None
        scale = meaning.scale
        if value.kind is JsonKind.NUMBER:
            number = Number.parse(value.text)
        elif value.kind is JsonKind.STRING:
            read = parse_quantity(value.text, units)
            number = read[0] if read else None
            # A unit in the text replaces the one in the key: `"artifact_mb": "15.9MB"` states it twice.
            if read and read[1] != 1.0:
                scale = read[1]
        else:
            return None
        if number is None or not self.plausible(meaning, number.value):
            self.problems.append(
                Problem(self.document.locate(value), "unusable-value", f"{key} is no usable value: {excerpt(value.text, 60)!r}")
            )
            return None
        whole = meaning.quantity in ("total", "code", "model", "steps")
        scaled = number.value * scale
        return self.fact(name, round(scaled) if whole else scaled, UNITS[meaning.quantity], value, seed)

    @staticmethod
    def plausible(meaning: Meaning, value: float) -> bool:
        if meaning.aggregate == "std":
            return value >= 0
        return 0 < value < MOST_BPB if meaning.quantity == "bpb" else value > 0

    def headline(self, quantity: str, aliases: tuple[str, ...]) -> Fact | None:
        """The claimed score: the first alias that is usable, then any key that means it, then the same one level down."""
        candidates = [(key, self.root.get(key)) for key in aliases]
        candidates += [(key, value) for key, value in self.root.members if key not in aliases]
        for key, value in candidates:
            fact = self.headline_value(quantity, key, value)
            if fact is not None:
                return fact
        for nest in _NESTS:
            inner = self.root.get(nest)
            if inner is None or inner.kind is not JsonKind.OBJECT:
                continue
            members = sorted(inner.members, key=lambda member: aliases.index(member[0]) if member[0] in aliases else len(aliases))
            for key, value in members:
                fact = self.headline_value(quantity, key, value)
                if fact is not None:
                    return fact
        return None

    def headline_value(self, quantity: str, key: str, value: JsonValue | None) -> Fact | None:
        meaning = meaning_of(key)
        if value is None or meaning is None or meaning.quantity != quantity or not meaning.plain:
            return None
        if meaning.aggregate not in ("", "mean") or is_decoy(key):
            return None
        if value.kind is JsonKind.OBJECT:
            inner = value.get("mean") or value.get("avg") or value.get("average")
            return self.measure(key, inner, meaning, f"val_{quantity}") if inner is not None else None
        return self.measure(key, value, meaning, f"val_{quantity}")

    def aggregate(self, quantity: str, aggregate: str) -> Fact | None:
        """`val_bpb_std`, `artifact_bytes_max` and their aliases, also as a member of a per-seed dict (`"std": ...`)."""
        for key, value in self.members(_NESTS):
            meaning = meaning_of(key)
            if meaning is None or meaning.quantity != quantity or is_decoy(key) or not meaning.plain:
                continue
            if meaning.aggregate == aggregate and value.kind is not JsonKind.OBJECT:
                fact = self.measure(key, value, meaning, key)
            elif not meaning.aggregate and value.kind is JsonKind.OBJECT and (inner := value.get(aggregate)) is not None:
                fact = self.measure(f"{key}.{aggregate}", inner, Meaning(quantity, aggregate, meaning.scale), key)
            else:
                continue
            if fact is not None:
                return fact
        return None

    def quantity(self, quantity: str, aliases: tuple[str, ...]) -> Fact | None:
        """A size, time or count that is stated once for the whole submission."""
        ranked = sorted(
            self.members(_NESTS), key=lambda member: aliases.index(member[0]) if member[0] in aliases else len(aliases)
        )
        for key, value in ranked:
            meaning = meaning_of(key)
            if meaning is None or meaning.quantity != quantity or meaning.aggregate or is_decoy(key):
                continue
            fact = self.measure(key, value, meaning, key)
            if fact is not None:
                return fact
        return None

    def members(self, nests: tuple[str, ...]) -> list[tuple[str, JsonValue]]:
        """The top level, then the members of result containers."""
        found = list(self.root.members)
        for nest in nests:
            inner = self.root.get(nest)
            if inner is not None and inner.kind is JsonKind.OBJECT:
                found += inner.members
        return found

    def seeds(self) -> tuple[tuple[int, ...], Location | None]:
        """The seeds that the file lists, however it names the list."""
        for key, value in self.members(_NESTS):
            if key in _SEED_LISTS and value.kind is JsonKind.ARRAY:
                listed = [_whole(item) for item in value.items]
                if listed and all(seed is not None for seed in listed):
                    return tuple(seed for seed in listed if seed is not None), self.document.locate(value)
        single = self.root.get("seed")
        if single is not None and (seed := _whole(single)) is not None:
            return (seed,), self.document.locate(single)
        return (), None

    def seed_claims(self, seeds: tuple[int, ...], headline: Fact | None) -> tuple[SeedClaim, ...]:
        groups = list(self.groups(self.root, "", seeds, 0))
        if headline is not None:
            # Two groups may give one seed two values (an ablation's arms). The arm whose mean is claimed is the submission's.
            groups.sort(key=lambda group: not _explains(group, float(headline.value)))
        merged: dict[int | str | None, dict[str, Fact]] = {}
        extras: dict[int | str | None, list[Fact]] = {}
        sources: dict[int | str | None, Location] = {}
        for group in groups:
            for index, (seed, source, facts) in enumerate(group):
                slot: int | str | None = seed if seed is not None else f"#{index}"
                known, more = merged.setdefault(slot, {}), extras.setdefault(slot, [])
                sources.setdefault(slot, source)
                for field, fact in facts:
                    if field and field not in known:
                        known[field] = fact
                    else:
                        more.append(fact)
        chosen = _metric_that_explains(merged, extras, headline)
        claims = []
        for slot, known in merged.items():
            more = extras[slot]
            if chosen and "val_bpb" not in known:
                known["val_bpb"] = next(fact for fact in more if fact.name == chosen)
            seed = slot if isinstance(slot, int) else None
            claims.append(SeedClaim(seed, sources[slot], others=tuple(more), **known))
        return tuple(claims)

    def groups(self, container: JsonValue, name: str, seeds: tuple[int, ...], depth: int) -> Iterable[list[_Entry]]:
        """Per-seed structures of a container, in file order: dicts by seed, lists of dicts with a seed, parallel lists."""
        by_seed = [(seed, value) for key, value in container.members if (seed := _seed_of(key)) is not None]
        if by_seed:
            group = [entry for seed, value in by_seed if (entry := self.entry(seed, value, name)) is not None]
            if group:
                yield group
        for key, value in container.members:
            if _seed_of(key) is not None or is_decoy(key):
                continue
            if value.kind is JsonKind.OBJECT and depth < 3:
                yield from self.groups(value, key, seeds, depth + 1)
            elif value.kind is JsonKind.ARRAY and value.items:
                group = self.listed(key, value, seeds)
                if group:
                    yield group

    def listed(self, key: str, value: JsonValue, seeds: tuple[int, ...]) -> list[_Entry]:
        if all(item.kind is JsonKind.OBJECT for item in value.items):
            entries = []
            for item in value.items:
                stated = item.get("seed")
                seed = _whole(stated) if stated is not None else None
                if seed is not None and (entry := self.entry(seed, item, key)) is not None:
                    entries.append(entry)
            return entries
        named = key if meaning_of(key) is not None else "val_bpb" if "seed" in words_of(key) and key not in _SEED_LISTS else key
        meaning = meaning_of(named)
        numbers = [item for item in value.items if item.kind is JsonKind.NUMBER]
        if meaning is None or meaning.aggregate or len(numbers) != len(value.items) or (seeds and len(seeds) != len(numbers)):
            return []
        entries = []
        for index, item in enumerate(numbers):
            seed = seeds[index] if seeds else None
            fact = self.measure(named, item, meaning, _FIELDS[meaning.quantity], seed)
            if fact is not None:
                entries.append((seed, self.document.locate(item), [(_FIELDS[meaning.quantity] if meaning.plain else "", fact)]))
        return entries

    def entry(self, seed: int, value: JsonValue, container: str) -> _Entry | None:
        """One seed's values: a dict of metrics, or a single number that the container's name explains."""
        source = self.document.locate(value)
        if value.kind is JsonKind.OBJECT:
            facts = [read for key, inner in value.members for read in self.seed_fact(key, inner, seed)]
            return (seed, source, facts) if facts else None
        if value.kind not in (JsonKind.NUMBER, JsonKind.STRING):
            return None
        key = container if meaning_of(container) is not None else "val_bpb"
        if key == "val_bpb" and not 0.05 < (_float(value) or 0.0) < MOST_BPB:
            return None
        facts = self.seed_fact(key, value, seed)
        return (seed, source, facts) if facts else None

    def seed_fact(self, key: str, value: JsonValue, seed: int) -> list[tuple[str, Fact]]:
        if value.kind is JsonKind.OBJECT:
            return [
                read
                for inner, item in value.members
                if item.kind is JsonKind.NUMBER
                for read in self.seed_fact(inner, item, seed)
            ]
        if value.kind not in (JsonKind.NUMBER, JsonKind.STRING) or key == "seed":
            return []
        meaning = meaning_of(key)
        if meaning is None or meaning.aggregate or is_decoy(key) or not meaning.plain:
            number = Number.parse(value.text) if value.kind is JsonKind.NUMBER else None
            return [("", self.fact(key, number.value, UNITS[meaning.quantity] if meaning else "", value, seed))] if number else []
        fact = self.measure(key, value, meaning, _FIELDS[meaning.quantity], seed)
        return [(_FIELDS[meaning.quantity], fact)] if fact is not None else []

    def text_of(self, *keys: str) -> Fact | None:
        """The first of the keys that holds text; lists and dicts are joined."""
        for key in keys:
            value = self.root.get(key)
            if value is None:
                continue
            if value.kind in (JsonKind.STRING, JsonKind.NUMBER):
                text = value.text.strip()
            else:
                text = ", ".join(inner.text for _, inner in walk(value) if inner.kind in (JsonKind.STRING, JsonKind.NUMBER))
            if text:
                return Fact(keys[0], excerpt(text), "", self.document.locate(value), None, excerpt(text))
        return None

    def texts(self) -> Iterable[Fact]:
        for place, value in walk(self.root):
            if value.kind is JsonKind.STRING and len(value.text) >= LONG_TEXT and place[0] not in _IDENTITY:
                yield self.fact(".".join(place), value.text, "", value)

    def flags(self) -> Iterable[Fact]:
        for place, value in walk(self.root):
            if value.kind is JsonKind.BOOLEAN:
                yield self.fact(".".join(place), value.text == "true", "", value)

    def decoys(self) -> Iterable[Fact]:
        for place, value in walk(self.root):
            if value.kind is JsonKind.NUMBER and any(is_decoy(key) for key in place) and (number := _float(value)) is not None:
                yield self.fact(".".join(place), number, "", value)


type _Entry = tuple[int | None, Location, list[tuple[str, Fact]]]


def _seed_of(key: str) -> int | None:
    found = _SEED_KEY.fullmatch(key.strip())
    return int(found[1]) if found else None


def _whole(value: JsonValue) -> int | None:
    if value.kind is JsonKind.NUMBER and re.fullmatch(r"[0-9]{1,10}", value.text):
        return int(value.text)
    return _seed_of(value.text) if value.kind is JsonKind.STRING and len(value.text) < 24 else None


def _float(value: JsonValue) -> float | None:
    number = Number.parse(value.text)
    return number.value if number else None


def _explains(group: list[_Entry], headline: float, tolerance: float = 1e-3) -> bool:
    """Whether the group's bpb values have the claimed mean."""
    values = [float(fact.value) for _, _, facts in group for field, fact in facts if field == "val_bpb"]
    return bool(values) and abs(sum(values) / len(values) - headline) <= tolerance


def _metric_that_explains(
    merged: dict[int | str | None, dict[str, Fact]], extras: dict[int | str | None, list[Fact]], headline: Fact | None
) -> str:
    """Where no entry has a plain bpb: the metric that all entries share and whose mean is the claimed score."""
    if headline is None or not merged or any("val_bpb" in known for known in merged.values()):
        return ""
    for name in dict.fromkeys(fact.name for more in extras.values() for fact in more if fact.unit == "bpb"):
        values = [next((float(fact.value) for fact in more if fact.name == name), None) for more in extras.values()]
        known = [value for value in values if value is not None]
        if len(known) == len(values) and abs(sum(known) / len(known) - float(headline.value)) <= 2e-4:
            return name
    return ""


def _day_of(date: Fact | None) -> datetime.date | None:
    found = _DAY.search(str(date.value)) if date is not None else None
    if found is None:
        return None
    try:
        return datetime.date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        return None
