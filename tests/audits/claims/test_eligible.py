"""CLM008: which other score of the log is said to be formed without what is blamed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from audits.claims import RULES
from fixtures.program.editing import edited
from fixtures.record import Record, files_of, val_loss
from tests.program.judge import CHALLENGE, MemorySource
from verifier.engine.context import Context
from verifier.rule import Decision, Outcome
from verifier.submission.load import load_submission

RULE = next(rule for rule in RULES if rule.code == "CLM008")
_MAIN = "def main():\n"
_SCORE = "    val_loss, val_bpb = evaluate(args, model, val, base, leading)\n"
_LAST = '    log(f"final_int8_zlib_roundtrip_exact val_loss:{val_loss:.8f} val_bpb:{val_bpb:.8f}")\n'
_TABLED = """\
def tabled(args, model, tokens, base, leading, rows):
    nats, count, n_bytes = 0.0, 0, 0
    seen, pairs = torch.zeros(1 << 18), torch.zeros(1 << 18)
    with torch.no_grad():
        for start in range(0, len(tokens) - 1, args.train_seq_len):
            chunk = tokens[start : start + args.train_seq_len + 1]
            x, y = chunk[:-1], chunk[1:]
            hidden, _ = model.mix(model.embed(x[None]))
            logp = F.log_softmax(F.linear(hidden, model.embed.weight)[0].float(), dim=-1)
            loss = -logp.gather(1, y[:, None]).squeeze(1)
            if rows:
                key = x * 40503 % (1 << 18)
                both = (key ^ (y * 25013)) % (1 << 18)
                told = pairs[both].minimum(seen[key]) / seen[key].clamp(min=1)
                share = 0.1 + 0.4 * torch.sigmoid(-(logp.exp() * logp).sum(-1)) if args.soft else 0.35
                loss = -((1 - share) * (-loss).exp() + share * told).clamp(min=1e-12).log()
                seen.scatter_add_(0, key, torch.ones(len(y)))
                pairs.scatter_add_(0, both, torch.ones(len(y)))
            nats += loss.sum().item()
            count += y.numel()
            n_bytes += (base[y] + leading[y]).sum().item()
    return nats / count, nats / (math.log(2) * n_bytes)


"""
_CLAIMED = """\
    args.soft = False
    val_loss, val_bpb = tabled(args, model, val, base, leading, True)
"""
_SOFT = """\
    args.soft = True
    soft_loss, soft_bpb = tabled(args, model, val, base, leading, True)
    log(f"final_soft_exact val_loss:{soft_loss:.8f} val_bpb:{soft_bpb:.8f}")
"""
_PLAIN = """\
    plain_loss, plain_bpb = tabled(args, model, val, base, leading, False)
    log(f"final_plain_exact val_loss:{plain_loss:.8f} val_bpb:{plain_bpb:.8f}")
"""


def decide(record: Record) -> Decision:
    return RULE.decide(Context(load_submission(MemorySource(f"records/{record.path}", files_of(record))), CHALLENGE))


def score(record: Record, label: str, offset: float) -> str:
    loss, bpb = val_loss(record, 42) + offset * math.log(2) * record.bytes_per_token, record.bpb[42] + offset
    return f"{label} val_loss:{loss:.8f} val_bpb:{bpb:.8f}"


def tabled(others: Sequence[str], labels: Sequence[tuple[str, float]]) -> Record:
    """The claim uses the table; `others` are evaluated after it."""
    script = edited((_MAIN, _TABLED + _MAIN), (_SCORE, _CLAIMED), (_LAST, _LAST + "".join(others)))
    lines = tuple(("final_int8_zlib_roundtrip_exact", score(Record(), label, offset)) for label, offset in reversed(labels))
    return Record(script=script, log_lines=lines)


def test_a_score_with_the_same_table_is_not_said_to_be_formed_without_it() -> None:
    decision = decide(tabled([_PLAIN, _SOFT], [("final_plain_exact", 0.07), ("final_soft_exact", -0.02)]))
    assert decision.outcome is Outcome.FAIL, decision.reason
    (finding,) = decision.findings
    assert "NGR001" in finding.message
    assert "the log also has final_plain_exact, which is formed without it" in finding.message


def test_without_another_way_of_scoring_there_is_nothing_to_choose() -> None:
    decision = decide(tabled([_SOFT], [("final_soft_exact", -0.02)]))
    assert decision.outcome is Outcome.NOT_APPLICABLE, decision.reason
    assert "NGR001 speaks of the quoted one" in decision.reason


def test_the_quoted_score_is_the_one_that_is_claimed() -> None:
    """The first seed's log does not print its claimed score: what it ends with is not what the claim quotes."""
    claimed = _PLAIN + _CLAIMED.replace("val_loss, val_bpb", "best_loss, best_bpb")
    claimed += '    log(f"final_tabled_exact val_loss:{best_loss:.8f} val_bpb:{best_bpb:.8f}")\n'
    shifted = Record(bpb={seed: bpb - 0.05 for seed, bpb in Record().bpb.items()})
    record = tabled([claimed], [("final_plain_exact", 0.07), ("final_tabled_exact", -0.05)]).but(
        claim={"val_bpb": shifted.bpb[42], "seed_results": {str(seed): {"val_bpb": shifted.bpb[seed]} for seed in (314, 42)}},
        readme={"table": "", "intro": "Small."},
        seeds=(314, 42),
    )
    name = "train_seed314.log"
    kept = [line for line in files_of(record)[name].splitlines(keepends=True) if not line.startswith(b"final_tabled_exact")]
    decision = decide(record.but(extra={name: b"".join(kept)}))
    assert decision.outcome is Outcome.FAIL, decision.reason
    assert "the claim quotes final_tabled_exact, and NGR001" in decision.reason
