"""What system a record is: its structure as the settings of its run, its program and its logs tell it.

Names of folders, authors and pull requests play no part.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from verifier.engine.context import Context
from verifier.ledger.claims import headline_runs
from verifier.ledger.configuration import DEFAULT, ConfigRow, first_reads, is_on, resolve_configuration
from verifier.ledger.denominator import run_family
from verifier.program.analysis import Analysis, analysis_of
from verifier.program.values import Site
from verifier.submission.logs.model import Metric, Run, SizeKind

AFTER_TRAINING = ("TTT", "OGD", "NGRAM", "N_GRAM", "SLOT", "ETLB", "CACHE", "LORA", "TENT")
"""Words of settings that act when training has ended. Scripts carry such options without running them: a default alone proves no
run of them."""


@dataclass(frozen=True, slots=True)
class Trait:
    """One structural property with its evidence (`setting=value`, a log line, a name in the program that was reached)."""

    value: str
    why: str


@dataclass(frozen=True, slots=True)
class RecordSystem:
    """`traits` by name (absent: nothing tells); `settings` of the run by variable, `switches` those that turn something
    on; `live` are the switches after training that did run before the headline metric, `later` those that the logs show only behind
    it."""

    traits: Mapping[str, Trait]
    settings: Mapping[str, ConfigRow]
    switches: frozenset[str]
    live: tuple[str, ...]
    later: tuple[str, ...]
    foreign: tuple[str, ...]
    """Parts of the program that belong to none of the known systems, by name and place."""
    unread: str
    """Why the program tells no system, empty when it does."""

    def on(self, name: str) -> bool | None:
        """Whether a switch is on for the headline metric; `None` when no setting of that name is known."""
        row = self.settings.get(name)
        if row is None:
            return None
        return name in self.live if _after_training(name) and name in self.switches else is_on(row.value) is True


def describe_record(context: Context) -> RecordSystem:
    submission = context.submission
    settings = {row.name: row for row in resolve_configuration(submission)}
    reads = first_reads(submission)
    headlines = headline_runs(submission)
    run = headlines[0].run if headlines else None
    lines = [
        (number, text.lower())
        for log in submission.logs
        if run is not None and log.path == run.path
        for number, text in log.kinds
    ]
    switches = frozenset(
        name
        for name in settings
        if _is_switch(name) or ((read := reads.get(name)) is not None and read.kind in ("bool", "bool-trap"))
    )
    live, later = [], []
    for name, row in settings.items():
        if name in switches and _after_training(name) and is_on(row.value):
            shown = _shown(_stem(name), run, headlines[0].metric if headlines else None, lines)
            if shown == "before" or (shown == "" and row.origin != DEFAULT):
                live.append(name)
            elif shown == "behind":
                later.append(name)
    analysis = analysis_of(context)
    unread = f"the program can't be read ({analysis.why_not})" if analysis.why_not else ""
    if not unread and not {"NUM_LAYERS", "MODEL_DIM"} & settings.keys():
        unread = "the script reads no setting for its layers or its width"
    foreign = tuple(_foreign(analysis, switches)) if analysis.available else ()
    system = RecordSystem({}, settings, switches, tuple(live), tuple(later), foreign, unread)
    traits = dict(_traits(context, system, run, _reached(analysis) if analysis.available else frozenset()))
    return replace(system, traits=traits)


def _is_switch(name: str) -> bool:
    return name.endswith(("_ENABLED", "_ENABLE", "_ON")) or name.startswith(("ENABLE_", "USE_"))


def _after_training(name: str) -> bool:
    return any(word in name for word in AFTER_TRAINING)


def _stem(name: str) -> str:
    for cut in ("_ENABLED", "_ENABLE", "_ON"):
        name = name.removesuffix(cut)
    return name.removeprefix("ENABLE_").removeprefix("USE_").lower()


def _shown(stem: str, run: Run | None, headline: Metric | None, lines: list[tuple[int, str]]) -> str:
    """Whether the log shows the option at work: `before` the headline metric (or as it), only `behind` it, or not (``""``).

    A dumped setting (`ttt_enabled: 1`) is no work: labels of metrics and clocks come first, then lines after training.
    """
    if run is None or headline is None or headline.source.line is None:
        return ""
    labels = [(metric.source.line, metric.label.lower()) for metric in run.metrics]
    labels += [(timing.source.line, timing.label.lower()) for timing in run.timings]
    trained = max((point.line for point in run.steps), default=0)
    labels += [(number, text) for number, text in lines if number > trained]
    places = [number for number, text in labels if stem in text and number is not None]
    if not places:
        return ""
    return "before" if min(places) <= headline.source.line else "behind"


def _reached(analysis: Analysis) -> frozenset[str]:
    """Names of functions and classes whose body the abstract execution came to, and of the functions that they call, lowered."""
    names: set[str] = set()
    for text in analysis.trees:
        for node in text.parsed.nodes:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                continue
            inner = (
                [part for part in node.body if isinstance(part, ast.FunctionDef)] if isinstance(node, ast.ClassDef) else [node]
            )
            if any(Site(text.path, text.layer, line.lineno) in analysis.run.reached for part in inner for line in part.body):
                names.add(node.name.lower())
                calls = [call.func for part in inner for call in ast.walk(part) if isinstance(call, ast.Call)]
                names |= {call.attr.lower() for call in calls if isinstance(call, ast.Attribute)}
    return frozenset(names)


def _foreign(analysis: Analysis, switches: frozenset[str]) -> Iterator[str]:
    """Modules of the network whose names hold no word of a known part, and functions of methods that no switch governs."""
    governed = {_stem(name) for name in switches}
    for text in analysis.trees:
        for node in text.parsed.nodes:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                continue
            name = node.name.lower()
            inner = (
                [part for part in node.body if isinstance(part, ast.FunctionDef)] if isinstance(node, ast.ClassDef) else [node]
            )
            if not any(Site(text.path, text.layer, line.lineno) in analysis.run.reached for part in inner for line in part.body):
                continue
            module = isinstance(node, ast.ClassDef) and any("Module" in ast.unparse(base) for base in node.bases)
            odd = module and not any(word in name for word in _PARTS)
            method = next((word for word in _METHODS if word in name), "")
            if odd or (method and not any(method in stem for stem in governed)):
                yield f"{node.name} ({text.path}:{node.lineno})"


_PARTS = (
    "attention", "attn", "block", "mlp", "gpt", "model", "norm", "linear", "rotary", "rope", "embed", "smear", "bigram", "value", "loss", "head",
    "wrapper", "ddp", "feedforward", "ffn", "transformer", "skip",
)  # fmt: skip
"""Words of the names of a network's parts that the known systems have."""
_METHODS = (
    "lora",
    "slot",
    "ngram",
    "n_gram",
    "mamba",
    "ssm",
    "moe",
    "expert",
    "distill",
    "mixer",
    "knn",
    "trigram",
    "diffusion",
    "jepa",
    "ensemble",
)
"""Words of the names of methods that no preset has; where a switch governs one, the switch is asked."""


def _traits(context: Context, system: RecordSystem, run: Run | None, names: frozenset[str]) -> Iterator[tuple[str, Trait]]:
    """The structural properties that something tells."""
    submission = context.submission
    found = run_family(submission, run) if run is not None else None
    if found is not None:
        family, source = found
        kind = "metadata" if "tokenmonster" in family else "sentencepiece" if "sp" in family or "caseops" in family else family
        yield "tokenizer", Trait(kind, f"{family} ({source.path}:{source.line})")
        yield "byte sidecar", Trait("1" if "caseops" in family else "0", family)
    yield from _from_settings(system)
    for trait, word in (("smear gate", "smear"), ("parameter banks", "bank"), ("leaky activation", "leaky_relu")):
        hit = sorted(name for name in names if word in name)
        if names:
            yield trait, Trait("1" if hit else "0", f"{hit[0]} runs" if hit else "no such code is reached")
    for trait, word in _HARD_CODED.items():
        hit = sorted(name for name in names if word in name)
        if hit and not any(name in system.settings for name, _ in _SPELLED[trait]):
            yield trait, Trait("1", f"{hit[0]} runs")
    if run is not None:
        yield from _quantization(system, run, names)


def _from_settings(system: RecordSystem) -> Iterator[tuple[str, Trait]]:
    """Traits that settings name; a setting that the script doesn't have means that the property isn't there."""
    for trait, forms in _SPELLED.items():
        stated = next(((name, read) for name, read in forms if name in system.settings), None)
        if stated is None:
            yield trait, Trait("0", f"the script reads no {forms[0][0]}")
            continue
        name, read = stated
        row = system.settings[name]
        value = read(row.value)
        switch = name.rpartition("_")[0] + "_ENABLED"
        if value != "0" and system.on(switch) is False:
            value, name = "0", switch
            row = system.settings[switch]
        yield trait, Trait(value, f"{name}={row.value} ({row.origin})")
    for trait, name in (("score-first TTT", "TTT_ENABLED"), ("pre-quantization TTT", "PREQUANT_TTT_ENABLED")):
        on = system.on(name)
        given = system.settings.get(name)
        said = f"{name}={given.value} ({given.origin})" if given is not None else f"the script reads no {name}"
        unused = given is not None and is_on(given.value) and not on
        yield (
            trait,
            Trait("1" if on else "0", said + (", no line of the log up to the headline metric shows it" if unused else "")),
        )


def _positive(text: str) -> str:
    return "1" if (text.lstrip("-").replace(".", "", 1).isdigit() and float(text) > 0) or is_on(text) else "0"


def _from_zero(text: str) -> str:
    """For layer numbers: -1 is off, 0 is a layer."""
    return "1" if text.strip().isdigit() else "0"


def _listed(text: str) -> str:
    return "1" if text.strip() not in ("", "0", "None", "none", "-1") else "0"


_SPELLED: Mapping[str, tuple[tuple[str, Callable[[str], str]], ...]] = {
    "repeated layers": (("RECUR_LAYERS", _listed),),
    "looped layers": (("NUM_LOOPS", _positive),),
    "two lanes": (("PARALLEL_START_LAYER", _positive),),
    "parallel residuals": (("PARALLEL_RESIDUAL_START", _from_zero),),
    "value embedding": (("VE_ENABLED", _positive), ("VE_LAYERS", _listed)),
    "value residual": (("VRL_ENABLED", _positive), ("VALUE_RESIDUAL", _positive)),
    "bigram hash": (("BIGRAM_VOCAB_SIZE", _positive),),
    "XSA": (("XSA_LAST_N", _positive),),
    "skip gates": (("SKIP_GATES_ENABLED", _positive),),
}


_HARD_CODED: Mapping[str, str] = {
    "repeated layers": "recur", "value embedding": "valueembed", "value residual": "value_resid", "bigram hash": "bigram", "XSA": "xsa",
    "skip gates": "skip_gate",
}  # fmt: skip
"""Words of the code that has a property without a setting for it."""


def _quantization(system: RecordSystem, run: Run, names: frozenset[str]) -> Iterator[tuple[str, Trait]]:
    """The quantizer of the matrices, where its statistics come from, and the compressor: from what the log prints."""
    totals = [size for size in run.sizes if size.kind in (SizeKind.TOTAL, SizeKind.MODEL) and size.tag]
    tag = totals[-1].tag.lower() if totals else ""
    for compressor in ("brotli", "lzma", "zlib", "zstd"):
        if compressor in tag:
            yield "compressor", Trait(compressor, f"{totals[-1].source.path}:{totals[-1].source.line}")
    clipped = next((name for name in ("SDCLIP_K", "MATRIX_CLIP_SIGMAS") if name in system.settings), None)
    if run.calibrations:
        origin = next((line.reads for line in reversed(run.calibrations) if line.reads), "train")
        said = f"{run.calibrations[-1].source.path}:{run.calibrations[-1].source.line}"
        yield "calibration", Trait("self-generated" if origin == "self" else "train", said)
    gptq = bool(run.calibrations) or any("hessian" in name for name in names)
    if gptq:
        yield "quantizer", Trait("gptq_sdclip" if clipped else "gptq_percentile", clipped or "calibration, and no clip in sigmas")
    elif "int8" in tag:
        yield "quantizer", Trait("int8", tag)
    elif tag:
        yield "quantizer", Trait("percentile", f"{tag}, no calibration")
