"""Statements about rule-relevant topics: what a README or a submission JSON denies, asserts or names.

Text is a weak signal: about half of the sentences that match "no TTT" are labels of ablation rows or speak of one kind of it.
So a denial counts only when it is unqualified, and every statement keeps its sentence, line and form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from verifier.evidence import EXCERPT_LIMIT, Fact, excerpt
from verifier.submission.metadata import Metadata
from verifier.submission.metadata_keys import digits_among, words_of
from verifier.submission.readme.blocks import Page
from verifier.submission.readme.model import Polarity, Statement
from verifier.submission.readme.sentences import SENTENCE, Sentence, read_sentences

MOST_STATEMENTS = 5_000

_TOPICS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "prequant-ttt",
        re.compile(
            r"\bpre[- ]?quant(?:ization|ized)?[- ](?:\w{1,12}[- ]){0,2}?(?:TTT|test[- ]time training|adaptation|fine-?tun\w*)",
            re.IGNORECASE,
        ),
    ),
    (
        "eval-adaptation",
        re.compile(
            r"\b(?:eval(?:uation)?|test|inference)[- ]time (?:adaptation|weight updates?|parameter updates?|optimi[sz]ation)",
            re.IGNORECASE,
        ),
    ),
    ("ttt", re.compile(r"(?<![-\w])(?:TTT|test[- ]time training)\b(?![_/=])", re.IGNORECASE)),
    (
        "slot",
        re.compile(
            r"(?<![-\w])SLOT\b(?!s)|\b[Dd]elta (?:operates|adapts|is (?:optimi[sz]ed|fitted|trained)) on already[- ](?:scored|evaluated)\b"
        ),
    ),
    (
        "ngram",
        re.compile(
            r"\bn[- ]?gram(?:s)?\b(?:[- ](?:cache|mix\w*|eval\w*|rescor\w*|backoff|model|tilt|expert|interpolation|hash\w*|lookup))?",
            re.IGNORECASE,
        ),
    ),
    ("etlb", re.compile(r"\bETLB\b|eval[- ]time logit bias", re.IGNORECASE)),
    (
        "network",
        re.compile(
            r"\b(?:network|internet)(?: (?:calls?|access|requests?|downloads?))?\b|\bexternal downloads?\b", re.IGNORECASE
        ),
    ),
    ("validation-data", re.compile(r"\bval(?:idation)?[- ](?:data|tokens?|set|docs?|shards?)\b", re.IGNORECASE)),
)
_DENIAL = re.compile(
    r"(?:^|[\s(,|:—–-])(?:no|without any|zero|not using|(?:does|do|did) not (?:use|have|run|contain)|never uses?|free of)"
    r"\s+(?:any\s+|use of\s+)?$",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[.;:(|—–]|\bbut\b", re.IGNORECASE)
_NEGATION = re.compile(r"\b(?:no|zero)\s+", re.IGNORECASE)
_ITEM = re.compile(r",|/|\b(?:or|and|nor)\b", re.IGNORECASE)
_DENIED_AFTER = re.compile(
    r"^\s{0,2}(?:[:=|]|is|are|was)?\s{0,2}\|?\s{0,2}(?:none|off|disabled|not used|unused|no\b|false|❌|0\s*$)", re.IGNORECASE
)
_QUALIFIED_AFTER = re.compile(
    r"^-\w|^\s{0,2}(?:[-/]?\s?(?:before|prior|until|on (?!8|the 8)|over|with|after|except|outside|other than|apart|beyond|tuning|leak\w*|hyper\w*|baseline|ablation|variant|epochs?|gain|lr\b|rescor\w*|oracle|two[- ]pass|hash\w* (?:with|key)|embedd?\w*|bias|only|contribution|run\b|version|comparison)|\()",
    re.IGNORECASE,
)
_CONTRAST = re.compile(r"\b(?:but|except|only|with|plus|uses?|using|instead|legal|unlike|vs)\b", re.IGNORECASE)
_USES_VALIDATION = re.compile(r"\b(?:access\w*|train\w*|used?|seen|leak\w*|reads?)\b", re.IGNORECASE)

_NO_RECORD = re.compile(
    r"^\W{0,4}non[- ]record\b|\b(?:this is|this submission is|submitted as|is) (?:an? )?(?:\w{1,14} )?non[- ]record\b|\bnot (?:a |an )?(?:\w{1,12} )?record(?: claim| submission| attempt)?\b(?! of)"
    r"|\b(?:does not|doesn't|do not|not) claim(?:ing)? (?:a |any |to be a )?(?:new )?(?:record|sota)\b(?! (?:technique|method|independent|of|on|for))|\btrack:?\s*non[-_ ]record\b"
    r"|\bstatus:?\W{0,4}non[-_ ]record\b|\bnot (?:a|an) (?:\w{1,12} )?sota claim\b",
    re.IGNORECASE,
)
_WITHDRAWN = re.compile(
    r"\b(?:this|the) (?:submission|pr|pull request|record|entry) (?:has been|is|was|is now|is hereby) (?:withdrawn|retracted)\b|^\W{0,6}(?:withdrawn|retracted)\b|\b(?:STATUS|status):?\s*(?:withdrawn|retracted)"
    r"|\btreat this (?:submission|pr|pull request|record|entry) as (?:withdrawn|retracted)\b|^\W{0,6}retracting the reported\b",
    re.IGNORECASE,
)
_COMPRESSOR = re.compile(
    r"(?<![.\w])(zstandard|zstd|brotli|lzma|zlib|gzip|bz2|bzip2|xz)"
    r"(?:(?:[-=]|\s?\(?(?:level|quality|preset|lvl|q)\s?=?\s?|(?=\d))(\d{1,2})\b(?![-.%]|,\d|\s?(?:bytes|MB|B|s|ms)\b)|\b)",
    re.IGNORECASE,
)
_NOT_THIS_RUN = re.compile(
    r"\b(?:next|future|todo|plan(?:ned|s)?|ideas?|did(?:n't| not)|negative|fail(?:ed|ures?)?|tried|ablations?|prior|previous|lessons?)\b",
    re.IGNORECASE,
)
_COMPRESSOR_NAMES = {"zstandard": "zstd", "xz": "lzma", "bzip2": "bz2"}
_NOT_THE_MODEL = re.compile(
    r"\bcode\b|wrap|script|baseline|instead of|rather than|\bvs\b|versus|replac|switch|compared|than\b|previous|original|\bPR\b|\bfrom\b|beats|over\b|not\b|no\b|without|tried|ablation|source",
    re.IGNORECASE,
)
_BASE = re.compile(
    r"\b(?:buil[dt]s?\b.{0,12}\b(?:on|upon|from)|based on|on top of|fork(?:ed|s)? (?:of|from)|extends?|inherit(?:s|ed)?(?: from)?|derived from|lineage|stack(?:ed|s)? on|base(?:d)?\s*(?:PR|stack|submission|:)|starts? from|applied to)",
    re.IGNORECASE,
)
_PULL = re.compile(r"(?:\bPR\s{0,2}#?|#)(\d{1,5})\b")
_SOTA = re.compile(r"\bSOTA\b.{0,50}?(?<![\d.−+-])\b(\d\.\d{3,8})\b", re.IGNORECASE)
_MARGIN = re.compile(r"\b(?:threshold|margin|significan\w*|p\s?[<=]\s?0?\.\d+|0\.005[- ]?nats?|0\.0072 ?bpb)\b", re.IGNORECASE)
_SYSTEMS = re.compile(
    r"\bsystems?[- ]only\b|\b(?:pure|purely) (?:a )?systems?\b|\bsystems? (?:optimi[sz]ation|submission|improvement) (?:only|with no|without)",
    re.IGNORECASE,
)
_SEEDS = re.compile(r"\b(\d{1,2}|three|five|two|single)[- ]seeds?\b", re.IGNORECASE)
_SIZE = re.compile(r"(?:artifact|submission|total|size)\b.{0,40}?(\d[\d,.]{0,14}\s?(?:MB|MiB|bytes|B)\b)", re.IGNORECASE)
_TRAIN_TIME = re.compile(r"\b(?:train(?:ing|ed|s)?)\b.{0,40}?(\d[\d,.]{0,8}\s?(?:s|sec|seconds|min|minutes|ms)\b)", re.IGNORECASE)
_EVAL_TIME = re.compile(
    r"\b(?:eval(?:uation|uated)?)\b.{0,40}?(\d[\d,.]{0,8}\s?(?:s|sec|seconds|min|minutes|ms)\b)", re.IGNORECASE
)
_TECHNIQUES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (slug, re.compile(pattern, re.IGNORECASE))
    for slug, pattern in (
        ("swa", r"\bSWA\b|stochastic weight averag"),
        ("ema", r"\bEMA\b"),
        ("late-qat", r"\blate[- ]QAT\b"),
        ("qat", r"(?<!late )(?<!late-)\bQAT\b|quantization[- ]aware training"),
        ("gptq", r"\bGPTQ\b"),
        ("cyclic-shared-blocks", r"\bcyclic\b.{0,20}\bblocks?\b|\bshared blocks?\b"),
        ("inference-mode", r"\binference_mode\b"),
        ("xsa", r"\bXSA\b"),
        ("smeargate", r"\bSmear ?Gate\b"),
        ("bigram-hash", r"\bBigram ?Hash\b"),
        ("trigram-hash", r"\bTrigram ?Hash\b"),
        ("value-residual", r"\bVRL\b|value residual"),
        ("value-embedding", r"\bVE\d{2,4}\b|value embedding"),
        ("depth-recurrence", r"\bdepth[- ]recurrence\b|\brecurrent (?:layers|depth)\b|layer recurrence"),
        ("parallel-residuals", r"\bparallel residuals?\b"),
        ("partial-rope", r"\bpartial rope\b"),
        ("ln-scale", r"\bLN[- ]scale\b"),
        ("selective-pruning", r"\bselective prun"),
        ("sliding-window", r"\bsliding[- ]window\b"),
        ("score-first-ttt", r"\bscore[- ]first\b"),
        ("sdclip", r"\bSD-?Clip\b"),
        ("federated-averaging", r"\bfederated averaging\b"),
        ("muon", r"\bMuon\b"),
        ("multi-token-prediction", r"\bMTP\b|multi-token prediction"),
        ("distillation", r"\bdistill"),
        ("lora", r"\bLoRA\b"),
    )
)
_FLAG_TOPICS: tuple[tuple[str, frozenset[str]], ...] = (
    ("prequant-ttt", frozenset({"pre", "quant", "ttt"})),
    ("prequant-ttt", frozenset({"prequant", "ttt"})),
    ("eval-adaptation", frozenset({"eval", "time", "adaptation"})),
    ("slot", frozenset({"slot"})),
    ("etlb", frozenset({"etlb"})),
    ("ngram", frozenset({"ngram"})),
    ("ngram", frozenset({"n", "gram"})),
    ("network", frozenset({"network"})),
    ("validation-data", frozenset({"validation", "training"})),
    ("validation-data", frozenset({"val", "training"})),
    ("ttt", frozenset({"ttt"})),
)


_FLAG_NAMES = (
    "no not uses used use using enabled any with at on in for during all is has compliance n gram ngram cache caches slot ttt etlb"
    " pre quant prequant eval time test adaptation score first scorefirst legal val validation data training trained network calls"
    " access downloads submission tokens"
)
_FLAG_WORDS = frozenset(_FLAG_NAMES.split())
"""Words a flag may consist of; another one qualifies it (`no_hashed_ngram_cache`), and then it says less than its topic."""
_SENTENCES = (
    ("record", Polarity.DENIED, _NO_RECORD),
    ("withdrawn", Polarity.ASSERTED, _WITHDRAWN),
    ("systems-only", Polarity.ASSERTED, _SYSTEMS),
    ("margin", Polarity.ASSERTED, _MARGIN),
)
_VALUES = (("size", _SIZE), ("train-time", _TRAIN_TIME), ("eval-time", _EVAL_TIME), ("seeds", _SEEDS), ("sota", _SOTA))


def statements_of_page(page: Page) -> tuple[Statement, ...]:
    found: list[Statement] = []
    for sentence in read_sentences(page):
        found += statements_of(sentence)
        if len(found) > MOST_STATEMENTS:
            break
    return tuple(found[:MOST_STATEMENTS])


def statements_of_metadata(metadata: Metadata) -> tuple[Statement, ...]:
    """Statements in the texts and flags of a submission JSON (form `json`)."""
    found: list[Statement] = []
    for text in metadata.texts:
        written = str(text.value)[: 8 * SENTENCE]
        for piece in re.split(r"(?<=[.!?;])\s+", written):
            found += statements_of(Sentence(" ".join(piece[:SENTENCE].split()), "json", text.name, text.source))
        if len(found) > MOST_STATEMENTS:
            break
    for flag in metadata.flags:
        statement = _of_flag(flag)
        if statement is not None:
            found.append(statement)
    return tuple(found[:MOST_STATEMENTS])


def statements_of(sentence: Sentence) -> Iterator[Statement]:
    """All statements of one sentence."""
    text = sentence.text
    for topic, polarity, start in _features(text):
        yield _statement(sentence, topic, polarity, "", start)
    if sentence.form != "table":
        for topic, sign, pattern in _SENTENCES:
            match = pattern.search(text)
            if match:
                yield _statement(sentence, topic, sign, excerpt(text) if topic == "margin" else "", match.start())
        for topic, pattern in _VALUES:
            for found in pattern.finditer(text):
                yield _statement(sentence, topic, Polarity.ASSERTED, found[1], found.start(1))
    yield from _compressors(sentence)
    yield from _bases(sentence)
    for slug, pattern in _TECHNIQUES:
        named = pattern.search(text)
        if named:
            denied = _DENIAL.search(text[max(0, named.start() - 40) : named.start()]) is not None
            yield _statement(sentence, "technique", Polarity.DENIED if denied else Polarity.ASSERTED, slug, named.start())


def _statement(sentence: Sentence, topic: str, polarity: Polarity, value: str, start: int) -> Statement:
    """`start` is where in the sentence it is said: a wrapped sentence is cited at that line."""
    return Statement(topic, polarity, value, excerpt(sentence.text, 2 * EXCERPT_LIMIT), sentence.form, sentence.at(start))


def _features(text: str) -> Iterator[tuple[str, Polarity, int]]:
    """Denied and asserted features, each topic and polarity once per sentence. A qualified denial ("no TTT before scoring")
    is no statement at all."""
    seen: set[tuple[str, Polarity]] = set()
    taken: list[tuple[int, int]] = []
    for topic, pattern in _TOPICS:
        for found in pattern.finditer(text):
            if any(start < found.end() and found.start() < end for start, end in taken):
                continue
            taken.append(found.span())
            polarity = _polarity(text, found.start(), found.end(), topic)
            if polarity is not None and (topic, polarity) not in seen:
                seen.add((topic, polarity))
                yield topic, polarity, found.start()


def _polarity(text: str, start: int, end: int, topic: str) -> Polarity | None:
    before, after = text[max(0, start - 120) : start], text[end : end + 40]
    denied = _DENIAL.search(before) is not None
    if not denied:
        denied = _ends_denied_list(before)
    if not denied and _DENIED_AFTER.match(after):
        denied = True
    if denied:
        if _QUALIFIED_AFTER.match(after) and not re.match(r"\s{0,2}\((?:no|eval|none|off)", after):
            return None
        return Polarity.DENIED
    # "no illegal TTT", "never multi-epoch TTT": a qualifier stands between, so neither denial nor claim of the feature.
    if re.search(r"\b(?:no|not|never|without|nor|avoids?|disallowed|illegal|instead of)\b[^.;:,|]{0,40}$", before, re.IGNORECASE):
        return None
    if topic == "validation-data" and not _USES_VALIDATION.search(before[-40:] + " " + after):
        return None
    return Polarity.ASSERTED


def _ends_denied_list(before: str) -> bool:
    """Whether the text up to a feature is "no A, B or ": the denial of a list whose next item is the feature."""
    clause = _CLAUSE.split(before)[-1]
    negations = list(_NEGATION.finditer(clause))
    if not negations:
        return False
    listed = clause[negations[-1].end() :]
    *items, rest = _ITEM.split(listed)
    short = all(len(item.split()) <= 4 for item in items)
    return bool(items) and not rest.strip() and short and _CONTRAST.search(listed) is None


def _compressors(sentence: Sentence) -> Iterator[Statement]:
    if _NOT_THIS_RUN.search(sentence.section) or _NOT_THIS_RUN.search(sentence.text):
        return
    for found in _COMPRESSOR.finditer(sentence.text):
        before = sentence.text[max(0, found.start() - 40) : found.start()]
        after = sentence.text[found.end() : found.end() + 25]
        if _NOT_THE_MODEL.search(before) or re.match(r"[- ](?:wrap|\w{0,12}\s?code|encoded? (?:code|script))", after):
            continue
        name = found[1].lower()
        name = _COMPRESSOR_NAMES.get(name, name)
        level = found[2]
        yield _statement(sentence, "compressor", Polarity.ASSERTED, f"{name}:{level}" if level else name, found.start())


def _bases(sentence: Sentence) -> Iterator[Statement]:
    trigger = _BASE.search(sentence.text)
    if trigger is None or sentence.form == "table":
        return
    seen: set[str] = set()
    for found in _PULL.finditer(sentence.text, trigger.end()):
        if found[1] not in seen:
            seen.add(found[1])
            yield _statement(sentence, "base-pr", Polarity.ASSERTED, found[1], found.start())


def _of_flag(flag: Fact) -> Statement | None:
    """`no_slot: true` denies, `slot_enabled: true` asserts; a qualified name (`no_pre_quant_ttt_on_val`) counts for its topic."""
    words = words_of(flag.name.rsplit(".", 1)[-1])
    named = set(words)
    topic = next((topic for topic, needed in _FLAG_TOPICS if needed <= named), None)
    if topic is None or not named - digits_among(words) <= _FLAG_WORDS:
        return None
    negated = "no" in named or "not" in named or "without" in named
    polarity = Polarity.DENIED if negated == bool(flag.value) else Polarity.ASSERTED
    if not negated and topic in ("network", "validation-data"):
        return None
    text = f"{flag.name}: {str(flag.value).lower()}"
    return Statement(topic, polarity, "", excerpt(text), "json", flag.source)
