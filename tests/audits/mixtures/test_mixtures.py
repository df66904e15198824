"""Mixtures at evaluation time: what the cases of the catalogue leave open."""

from __future__ import annotations

import pytest

from fixtures.program import mixtures, mixtures_scores
from fixtures.program.mixtures_base import record, script
from fixtures.record import Record
from tests.program.judge import judge, result_of
from verifier.rule import Outcome

TABLE = "table = Backoff((4, 3, 2), 1 << 20)"


def _outcome(rule: str, text: str, helpers: dict[str, str] | None = None) -> str:
    return result_of(judge(record("Variant", text, helpers), rule), rule).outcome.value


def test_the_finding_cites_key_lookups_quotient_logarithm_and_report() -> None:
    text = script(mixtures._XOR_SCORE, mixtures._XOR_SETUP)
    report = judge(record("Cited", text), "NGR001")
    (finding,) = (one for one in report.findings if one.outcome is Outcome.FAIL)
    cited = [location.excerpt for location in finding.locations]
    assert any("stream[at]" in line for line in cited)
    assert any("pairs[full]" in line and "/" in line for line in cited)
    assert any("np.log" in line for line in cited)
    assert any("final_int8_zlib_roundtrip_exact" in line for line in cited)


def test_a_switch_with_an_unknown_value_leaves_it_to_a_reviewer() -> None:
    settings = 'table_enabled = bool(int(os.environ["TABLE_ENABLED"]))'
    text = script("if args.table_enabled:\n" + _indented(mixtures._CLASS_SCORE), TABLE, mixtures._CLASS, settings)
    assert _outcome("NGR001", text) == "review"


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.strip("\n").split("\n"))


def test_counts_packed_during_training_fail_when_they_are_looked_up_by_target() -> None:
    setup = (
        TABLE
        + "\nfor path in sorted(glob.glob(args.train_files)):\n    part = load_shard(path)\n    table.learn(part[:-1], part[1:])"
    )
    score = "mixed = 0.7 * torch.exp(-nll) + 0.3 * table.share(x, y)\nnll = -torch.log(mixed.clamp(min=1e-12))"
    assert _outcome("NGR001", script(score, setup, mixtures._CLASS)) == "fail"


def test_a_model_that_is_the_prior_of_the_counts_fails_as_a_fixed_weight_does() -> None:
    score = """
short, full = table.places(x, y, 3)
prior = torch.exp(-nll)
mixed = (table.joint[3][full] + 5.0 * prior) / (table.totals[3][short] + 5.0)
table.learn(x, y)
nll = -torch.log(mixed)
"""
    assert _outcome("NGR001", script(score, TABLE, mixtures._CLASS)) == "fail"


@pytest.mark.parametrize(
    "share",
    ["rows[x, y] / rows[x].sum(dim=-1).clamp(min=1.0)", "(rows[x, y] + 0.1) / (rows.sum(dim=-1)[x] + 0.1 * args.vocab_size)"],
)
def test_a_row_for_each_context_keeps_candidates_apart(share: str) -> None:
    score = f"nll = -torch.log(0.8 * torch.exp(-nll) + 0.2 * {share})\nrows.index_put_((x, y), torch.ones(y.numel()), accumulate=True)"
    text = script(score, "rows = torch.ones(args.vocab_size, args.vocab_size)")
    assert _outcome("NGR001", text) == "pass"
    assert _outcome("MIX001", text) == "pass"


def test_an_embedding_of_hashed_inputs_is_no_count_table() -> None:
    text = script().replace(
        "        hidden, _ = self.mix(self.embed(x))\n        return F.linear",
        "        pair = (x * 36313 ^ torch.roll(x, 1, dims=-1) * 27191) % 4096\n"
        "        hidden, _ = self.mix(self.embed(x) + self.pairs(pair))\n        return F.linear",
    )
    text = text.replace(
        "        self.mix = nn.GRU", "        self.pairs = nn.Embedding(4096, args.model_dim)\n        self.mix = nn.GRU"
    )
    assert [_outcome(rule, text) for rule in ("NGR001", "NGR002", "MIX001")] == ["pass"] * 3


def test_a_gate_that_asks_for_more_than_certainty_never_opens() -> None:
    text, helpers = mixtures._native_gate("!fresh")
    shut = text.replace(
        "strength = 1.5 *", "strength = (torch.from_numpy(share[start + 1 : start + 1 + y.numel()]) >= 999.0) * 1.5 *"
    )
    shut = shut.replace("hint = torch.from_numpy(best[start + 1 : start + 1 + y.numel()])", "hint = x")
    assert _outcome("NGR002", text, helpers) == "fail"
    assert _outcome("NGR002", shut, helpers) != "fail"


def test_a_mixture_that_only_a_diagnostic_prints_is_not_the_headline_s() -> None:
    text = script(
        mixtures._CLASS_SCORE.replace("nll = -torch.log", "diagnostic = -torch.log") + "side += diagnostic.sum().item()",
        TABLE + "\nside = 0.0",
        mixtures._CLASS,
    ).replace("    return nats / count,", '    print(f"table_only diagnostic:{side:.4f}")\n    return nats / count,')
    assert _outcome("NGR001", text) == "pass"


def test_a_c_source_in_the_script_is_cited_at_its_own_line() -> None:
    case = next(case for case in mixtures_scores.CASES if case.slug == "NativeBytes")
    report = judge(case.record, "PPM001")
    (finding,) = (one for one in report.findings if one.outcome is Outcome.FAIL)
    assert finding.locations[0].excerpt == "out[0] = total;"
    line = finding.locations[0].line
    assert line is not None
    assert case.record.script.split("\n")[line - 1].strip() == "out[0] = total;"


def test_without_a_script_nothing_is_decided() -> None:
    report = judge(Record(name="2026-04-30_NoScript", without=("train_gpt.py",)), "NGR001", "PPM001")
    assert {result.outcome.value for result in report.rules if result.code in ("NGR001", "PPM001")} == {"not-available"}
