"""Reports built by hand: one with something in every field, one clean, one hostile. Numbers and texts are invented."""

from __future__ import annotations

import math
from dataclasses import replace

from verifier.evidence import Fact, Location, Problem
from verifier.ledger.configuration import ConfigRow
from verifier.ledger.denominator import BytesSummary
from verifier.ledger.sizes import SizeBar
from verifier.ledger.statistics import MarginTest, Statistics
from verifier.ledger.timeline import Budget, Phase, Timeline
from verifier.report.model import Curve, LayerRow, RecordClaim, Report, RuleResult, SeedRow, SubmissionReport, Verdict
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule, Tier
from verifier.submission.logs.model import PhaseKind

PULL = "https://github.com/openai/parameter-golf/pull/"
README = "https://github.com/openai/parameter-golf#readme"
SEEDS = (42, 1337, 2024)
BPB = {42: 1.08112, 1337: 1.08174, 2024: 1.08069}


def _never(_context: object) -> Decision:
    raise AssertionError("a renderer ran a check")


def make_rule(code: str, name: str, level: Level, summary: str, *, source: str = README, tier: Tier = Tier.STATIC) -> Rule:
    return Rule(
        code=code,
        name=name,
        level=level,
        summary=summary,
        why="Both budgets are fixed so that submissions compare methods, not patience.",
        example="Violation: `hessians = collect(train_batches)` after the stop.\nTwin: the same call inside the reserve of 10 s.",
        settles="A log line with the duration of the phase.",
        sources=(source,),
        check=_never,
        tier=tier,
    )


RULES = (
    make_rule("BYT004", "implied-bytes-outlier", Level.ERROR, "loss and BPB imply another number of bytes"),
    make_rule("CAU002", "non-causal-dependence", Level.ERROR, "a prediction depends on later tokens", tier=Tier.DYNAMIC),
    make_rule("CLM002", "claim-contradicted", Level.ERROR, "the folder denies what its run shows", source=PULL + "1405"),
    make_rule("CLM003", "command-sets-unread-variable", Level.WARNING, "the command sets variables that nothing reads"),
    make_rule("CLM007", "incomplete-results-table", Level.WARNING, "the table leaves out logged values", source=PULL + "1471"),
    make_rule("COD004", "message-contradicts-code", Level.NOTE, "a message names another method than the code uses"),
    make_rule("EVA003", "fresh-eval-mismatch", Level.ERROR, "an independent evaluation differs", tier=Tier.DATA),
    make_rule("MIX001", "unnormalized-mixture", Level.ERROR, "the score is no distribution over the alphabet"),
    make_rule("PKG001", "missing-file", Level.ERROR, "README, JSON, log or script is missing"),
    make_rule("PKG007", "packed-script", Level.NOTE, "the script is packed"),
    make_rule("SIG003", "below-record-margin", Level.RECORD, "the margin over the SOTA is not shown", source=PULL + "1738"),
    make_rule("SIZ001", "artifact-over-cap", Level.ERROR, "code + model above 16,000,000 bytes"),
    make_rule("TIM001", "train-over-budget", Level.ERROR, "training wallclock above 601 s"),
    make_rule("TIM003", "calibration-outside-budget", Level.ERROR, "training data read after the budget", source=PULL + "593"),
    make_rule("TIM005", "hardware-not-record", Level.RECORD, "other hardware than 8xH100"),
    make_rule("TTT005", "score-first-ttt", Level.NOTE, "legal score-first adaptation"),
    make_rule("VAL005", "tuned-on-validation", Level.ERROR, "an eval-time setting was fitted on validation outcomes"),
)
_BY_CODE = {rule.code: rule for rule in RULES}

_OUTCOMES = {
    "BYT004": (Outcome.PASS, "3 pairs of loss and BPB imply 151,080,8xx bytes"),
    "CAU002": (Outcome.NOT_AVAILABLE, "needs an execution"),
    "CLM002": (Outcome.REVIEW, "The README denies pre-quantization adaptation; the log has an adaptation phase."),
    "CLM003": (Outcome.PASS, "all 14 variables of the command are read"),
    "CLM007": (Outcome.FAIL, "2 values of the logs are missing in the table"),
    "COD004": (Outcome.ERROR, "ValueError: unexpected literal (train_gpt.py)"),
    "EVA003": (Outcome.NOT_AVAILABLE, "needs an artifact and validation shards"),
    "MIX001": (Outcome.NOT_AVAILABLE, "the program builds its scorer with exec() on text that can't be unpacked"),
    "PKG001": (Outcome.PASS, "README, JSON, script and 3 logs are there"),
    "PKG007": (Outcome.INFO, "train_gpt.py is packed in 1 layer"),
    "SIG003": (Outcome.FAIL, "p = 0.41 for the margin of 0.005 nats per token"),
    "SIZ001": (Outcome.PASS, "largest total 15,996,195 bytes"),
    "TIM001": (Outcome.INFO, "588.0 to 600.2 s"),
    "TIM003": (Outcome.FAIL, "638.1 s of training data access against 600 s"),
    "TIM005": (Outcome.NOT_APPLICABLE, "no GPU name in the logs, world size 8"),
    "TTT005": (Outcome.INFO, "score-first adaptation is live"),
    "VAL005": (Outcome.NOT_AVAILABLE, "the program builds its scorer with exec() on text that can't be unpacked"),
}


def finding(code: str, outcome: Outcome, message: str, *locations: Location, **fields: object) -> Finding:
    rule = _BY_CODE[code]
    base = Finding(outcome, message, locations, rule=code, name=rule.name, level=rule.level, sources=rule.sources)
    return replace(base, **fields)  # type: ignore[arg-type]


FINDINGS = (
    finding(
        "TIM003",
        Outcome.FAIL,
        "Seed 42 reads training data for 50.1 s after a training clock of 588.0 s: 638.1 s in all, 33.1 s above the 605 s that"
        " were ever accepted.",
        Location("train_seed42.log", 1203, excerpt="gptq: collected 67 hessians on 64 train batches in 50.1s"),
        Location("train_gpt.py", 2211, 2240, 1, "hessians = collect_hessians(model, train_loader, batches=64)"),
        measured=Measured(638.1, "s"),
        limit=Measured(605, "s"),
        remediation="Stop training early enough: reserve the seconds of the calibration inside the 600 s.",
    ),
    finding(
        "SIG003",
        Outcome.FAIL,
        "The mean 1.08118 does not beat the SOTA 1.08100 of 2026-04-09 at all.",
        Location("submission.json", 8, excerpt='"val_bpb": 1.08118,'),
        measured=Measured(1.08118333, "bpb"),
        limit=Measured(1.07837, "bpb"),
    ),
    finding(
        "CLM007",
        Outcome.FAIL,
        "The table leaves out the BPB of seed 2024; the log has 1.08069.",
        Location("README.md", 41, excerpt="| 2024 | | 15,975,819 |"),
        Location("train_seed2024.log", 1391, excerpt="final_int6_lzma_roundtrip_exact val_loss:2.79155 val_bpb:1.08069"),
        confidence=Confidence.MEDIUM,
    ),
    finding(
        "CLM007",
        Outcome.FAIL,
        "The table leaves out the total size of seed 1337; the log has 15,989,020.",
        Location("README.md", 40, excerpt="| 1337 | 1.08174 | |"),
    ),
    finding(
        "CLM002",
        Outcome.REVIEW,
        'The README says "no pre-quant TTT"; the log of seed 42 has an adaptation phase of 379.2 s before quantization.',
        Location("README.md", 12, excerpt="- No SLOT, no pre-quant TTT, no n-gram cache."),
        Location("train_seed42.log", 1188, excerpt="adapt: epoch 21/21 done in 379.2s"),
        confidence=Confidence.LOW,
        remediation="Say which tokens the adaptation reads.",
    ),
    finding(
        "TIM001",
        Outcome.INFO,
        "Seed 1337 stops at 600.2 s: the overshoot of the last step.",
        Location("train_seed1337.log", 1170, excerpt="stopping_early: wallclock_cap train_time:600213ms step:4551/20000"),
        measured=Measured(600.213, "s"),
        limit=Measured(600, "s"),
    ),
    finding("PKG007", Outcome.INFO, "train_gpt.py is packed: lzma+base85, 86,046 bytes.", Location("train_gpt.py", 1)),
    finding(
        "TTT005",
        Outcome.INFO,
        "Each chunk is scored under no_grad before the update that uses it.",
        Location("train_gpt.py", 1165, 1188, 1, "for chunk in chunks: score(chunk); adapt(chunk)"),
    ),
)


def _phase(kind: PhaseKind, label: str, seconds: float, start: float, budget: Budget, line: int, reads: str = "") -> Phase:
    source = Location("train_seed42.log", line)
    return Phase(kind, label, seconds, start, budget, reads, budget is Budget.NONE and reads == "validation", source)


def make_timeline(seed: int) -> Timeline:
    shift = SEEDS.index(seed) * 0.7
    train = 588.0 if seed != 1337 else 600.213
    phases = (
        _phase(PhaseKind.TRAIN, "train", train, 0.0, Budget.TRAIN, 1170, "train"),
        _phase(PhaseKind.EVAL, "final pre-quant eval", 6.3, train, Budget.NONE, 1180, "validation"),
        _phase(PhaseKind.ADAPT, "adapt", 379.2 + shift, train + 6.3, Budget.EVAL, 1188, "validation"),
        _phase(PhaseKind.CALIBRATION, "hessians", 50.1 - shift, train + 385.5, Budget.TRAIN, 1203, "train"),
        _phase(PhaseKind.QUANTIZE, "gptq + lzma", 71.9, train + 435.6, Budget.NONE, 1240),
        _phase(PhaseKind.EVAL, "final_int6_lzma_roundtrip", 114.7 + shift, train + 507.5, Budget.EVAL, 1390, "validation"),
    )
    return Timeline(
        seed=seed,
        log=f"train_seed{seed}.log",
        phases=phases,
        train_seconds=train,
        reserve_seconds=12.0,
        calibration_seconds=50.1 - shift,
        eval_seconds=493.9 + 2 * shift,
        diagnostic_seconds=6.3,
        eval_is_total=False,
    )


def make_curves(seed: int) -> tuple[Curve, ...]:
    """Plausible shapes: a power law with a little wobble, seeds apart by their final BPB."""
    log, end = f"train_seed{seed}.log", 4550
    offset = BPB[seed] - 1.081
    loss = [
        (step, round(2.55 + 7.0 * (step + 20) ** -0.32 + 0.02 * math.sin(step * 1.7 + seed), 4)) for step in range(0, end, 25)
    ]
    bpb = [(step, round(1.021 + 2.6 * (step + 60) ** -0.45 + offset, 4)) for step in (*range(0, end, 500), end)]
    slow = SEEDS.index(seed) * 0.3
    pace = [
        (step, round(128.9 + slow + 0.9 * math.exp(-step / 300) + 0.05 * math.sin(step * 1.3), 2)) for step in range(10, end, 50)
    ]
    return (
        Curve("train_loss", seed, log, tuple(loss)),
        Curve("val_bpb", seed, log, tuple(bpb)),
        Curve("step_ms", seed, log, tuple(pace)),
    )


def make_seed_row(seed: int) -> SeedRow:
    loss = {42: "2.79270", 1337: "2.79431", 2024: "2.79155"}[seed]
    timeline = make_timeline(seed)
    return SeedRow(
        seed=seed,
        log=f"train_seed{seed}.log",
        steps=4550 + seed % 7,
        step_ms=129.2,
        train_seconds=timeline.train_seconds,
        eval_seconds=timeline.eval_seconds,
        headline_label="final_int6_lzma_roundtrip_exact",
        val_loss=loss,
        val_bpb=f"{BPB[seed]:.5f}",
        claimed_bpb=f"{BPB[seed]:.5f}" if seed != 2024 else None,
        artifact_bytes={42: 15_996_195, 1337: 15_989_020, 2024: 15_975_819}[seed],
        code_bytes=24_732,
        model_bytes={42: 15_971_463, 1337: 15_964_288, 2024: 15_951_087}[seed],
        metrics=(
            ("post_ema", "2.78411", "1.07780"),
            ("final_int6_lzma_roundtrip_exact", loss, f"{BPB[seed]:.5f}"),
        ),
    )


STATISTICS = Statistics(
    values=tuple((seed, BPB[seed]) for seed in SEEDS),
    mean=1.0811833333,
    std=0.00052785,
    std_population=0.00043099,
    confidence_interval=(1.07987210, 1.08249457),
    sota=1.0810,
    sota_pr=1493,
    sota_date="2026-04-09",
    sota_seeds=(1.08079, 1.08086, 1.08135),
    tests=(
        MarginTest("nats/token", 0.00194, "welch", -5.1, 2.9, 0.9927, 0.68, 1.07781, None),
        MarginTest("nats/byte", 0.00721, "welch", -18.4, 2.9, 0.9998, 0.68, 1.07254, None),
    ),
)


def make_results(outcomes: dict[str, tuple[Outcome, str]]) -> tuple[RuleResult, ...]:
    return tuple(
        RuleResult(rule.code, rule.name, *outcomes[rule.code][:1], rule.level, rule.tier, outcomes[rule.code][1])
        for rule in RULES
    )


def failing_submission() -> SubmissionReport:
    """Everything at once: three seeds, fails of three levels, a review, facts, broken and unavailable rules, problems."""
    return SubmissionReport(
        path="records/track_10min_16mb/2026-04-19_SP8192_Parallel_Muon_Calibrated",
        track="10min_16mb",
        verdict=Verdict.INELIGIBLE,
        record_claim=RecordClaim.UNSUPPORTED,
        as_of="2026-04-19",
        not_examined=("CAU002", "EVA003"),
        rules=make_results(_OUTCOMES),
        findings=FINDINGS,
        facts={
            "val_bpb": (
                Fact("val_bpb", 1.08118, "bpb", Location("submission.json", 8), None, "1.08118"),
                *(Fact("val_bpb", BPB[seed], "bpb", Location(f"train_seed{seed}.log", 1391), seed) for seed in SEEDS),
            ),
            "artifact_bytes": (Fact("artifact_bytes", 15_996_195, "bytes", Location("submission.json", 10), 42),),
        },
        timelines=tuple(make_timeline(seed) for seed in SEEDS),
        seeds=tuple(make_seed_row(seed) for seed in SEEDS),
        sizes=(
            SizeBar(
                42, "packed script + int6 lzma model", 24_732, 15_971_463, 15_996_195, True, Location("train_seed42.log", 1250)
            ),
            SizeBar(
                42, "readable script + int6 lzma model", 85_821, 15_971_463, 16_057_284, True, Location("train_seed42.log", 1251)
            ),
            SizeBar(
                1337,
                "packed script + int6 lzma model",
                24_732,
                15_964_288,
                15_989_020,
                True,
                Location("train_seed1337.log", 1250),
            ),
            SizeBar(2024, "total as logged", None, None, 15_975_819, False, Location("train_seed2024.log", 1250)),
        ),
        curves=tuple(curve for seed in SEEDS for curve in make_curves(seed)),
        config=(
            ConfigRow("MATRIX_LR", "0.022", "log", Location("train_seed42.log", 31)),
            ConfigRow(
                "TTT_ENABLED",
                "1",
                "log",
                Location("train_seed42.log", 12),
                (("command", "0", Location("README.md", 33)), ("default", "0", Location("train_gpt.py", 88, layer=1))),
            ),
            ConfigRow(
                "WARMDOWN", "3500", "command", Location("README.md", 34), (("default", "1200", Location("train_gpt.py", 60)),)
            ),
        ),
        statistics=STATISTICS,
        bytes=BytesSummary(3.72660, 3.72664, None, 40_540_803, "sp8192"),
        layers=(LayerRow("train_gpt.py", 1, "lzma+base85", 86_046),),
        problems=(
            Problem(Location("wandb/latest-run"), "symlink", "a symbolic link is not followed"),
            Problem(Location("notes.txt"), "undecodable", "neither UTF-8 nor UTF-16"),
        ),
    )


def clean_submission() -> SubmissionReport:
    """An eligible, unclaimed non-record run with one nameless seed and almost nothing to show."""
    outcomes = dict.fromkeys(_OUTCOMES, (Outcome.PASS, "looked at, nothing found"))
    outcomes["SIG003"] = (Outcome.NOT_APPLICABLE, "no record is claimed")
    outcomes["CAU002"] = outcomes["EVA003"] = (Outcome.NOT_AVAILABLE, "not run")
    return SubmissionReport(
        path="records/track_non_record_16mb/2026-03-20_Baseline",
        track="non_record_16mb",
        verdict=Verdict.ELIGIBLE,
        record_claim=RecordClaim.NOT_CLAIMED,
        as_of="2026-03-20",
        not_examined=("CAU002", "EVA003"),
        rules=make_results(outcomes),
        findings=(),
        seeds=(
            SeedRow(None, "train.log", 13_780, 43.5, 600.0, None, "final", "2.0606", "1.2244", "1.2244", None, None, None, ()),
        ),
    )


def unreadable_submission() -> SubmissionReport:
    return SubmissionReport(
        path="records/track_10min_16mb/broken.zip",
        track=None,
        verdict=Verdict.UNDETERMINED,
        record_claim=RecordClaim.UNDECIDED,
        as_of=None,
        not_examined=(),
        rules=make_results(dict.fromkeys(_OUTCOMES, (Outcome.NOT_AVAILABLE, "the archive could not be read"))),
        findings=(),
        problems=(Problem(Location("broken.zip"), "unreadable", "end of the archive's directory not found"),),
    )


def report(*submissions: SubmissionReport) -> Report:
    return Report(
        tool_version="0.1.0",
        challenge="parameter-golf",
        ruleset="2026-05-02",
        artifact_cap=16_000_000,
        train_budget=600.0,
        eval_budget=600.0,
        submissions=submissions,
        rules=RULES,
    )


def single() -> Report:
    return report(failing_submission())


def batch() -> Report:
    return report(failing_submission(), clean_submission(), unreadable_submission())
