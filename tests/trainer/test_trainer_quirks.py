"""Each quirk of the register is one switch, and the switch does what its line says. Golden values test most others."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import reference_train  # noqa: E402
from reference_train import tokbytes  # noqa: E402
from reference_train.config import make_config, preset_names, read_preset  # noqa: E402
from reference_train.data import load_data  # noqa: E402
from reference_train.errors import TrainerError  # noqa: E402
from reference_train.evaluate import Scorer  # noqa: E402
from reference_train.quirks import QUIRKS  # noqa: E402
from reference_train.run import calibrate  # noqa: E402
from reference_train.runlog import RunLog  # noqa: E402
from reference_train.schedule import PhaseClock  # noqa: E402
from reference_train.train import Ranks, Trainer  # noqa: E402
from reference_train.ttt import TttConfig, evaluate_score_first  # noqa: E402
from tests.trainer.test_trainer_evaluate import small_model, stream  # noqa: E402
from tests.trainer.test_trainer_run import FakeClock, quick  # noqa: E402


def test_the_register_is_complete_and_every_switch_is_read() -> None:
    assert list(QUIRKS) == list(range(1, 23))
    folder = Path(reference_train.__file__).parent
    code = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    read = {int(n) for n in re.findall(r"\.has\((\d+)\)|\b(\d+) (?:not )?in (?:cfg\.)?quirks", code) for n in n if n}
    assert read == set(QUIRKS)
    used = {quirk for name in preset_names() for quirk in read_preset(name).get("parity_quirks", ())}
    assert used == set(QUIRKS)


def trainer(preset: str, docs: str, folder: Path, clock: PhaseClock | None = None, **settings: Any) -> Trainer:
    cfg = quick(preset, docs, **settings)
    return Trainer(cfg, load_data(cfg, folder), Ranks(), clock or PhaseClock(), RunLog())


def no_progress(step: int, steps: int, loss: float) -> None:
    pass


SNAPSHOTS = {"swa_enabled": True, "swa_every": 1, "swa_threshold": 2.0, "ema_decay": 0.5}


def test_snapshots_are_averaged_or_collected_in_vain(few_docs: str, tmp_path: Path) -> None:
    weights: dict[tuple[int, ...], Any] = {}
    for quirks in ((), (7,)):
        t = trainer("tiny", few_docs, tmp_path, quirks=quirks, **SNAPSHOTS)
        seen = []
        t.train(lambda step, steps, loss, t=t, seen=seen: seen.append(t.model.tok_emb.weight.detach().clone()))  # type: ignore[misc]
        weights[quirks] = t.model.tok_emb.weight.detach().clone()
        assert isinstance(t.log, RunLog)
        assert "swa:start step:1" in t.log.lines
        assert t.swa.count == 4
        assert t.ema is not None
        expected = torch.stack(seen).mean(0) if quirks == () else t.ema.shadow["tok_emb.weight"]
        assert torch.allclose(weights[quirks], expected, atol=1e-6)
    assert not torch.equal(weights[()], weights[(7,)])


def test_late_qat_rounds_or_only_says_so(few_docs: str, tmp_path: Path) -> None:
    losses = {}
    for quirks in ((), (8,)):
        t = trainer("tiny", few_docs, tmp_path, quirks=quirks, qat_enabled=True, matrix_levels=3)
        losses[quirks] = [loss for _, loss in t.train(no_progress).train_curve]
        assert isinstance(t.log, RunLog)
        probe = next(line for line in t.log.lines if line.startswith("late_qat:probe"))
        distinct, size = (int(n) for n in re.findall(r":(\d+)", probe))
        assert (distinct <= 7) == (quirks == ())
        assert (distinct == size) == (quirks == (8,))
        assert t.model.fake_quant_range == 0  # the exporter sees the real weights
    plain = trainer("tiny", few_docs, tmp_path).train(no_progress)
    assert losses[(8,)] == [loss for _, loss in plain.train_curve]
    assert losses[()] != losses[(8,)]


def adapted(misses: bool) -> dict[str, Any]:
    model = small_model(parameter_banks=True)
    cfg = TttConfig(lr=0.1, epochs=1, chunk_tokens=64, freeze_blocks=2, freeze_misses_banks=misses)
    evaluate_score_first(model, stream(), np.ones(330), Scorer(False), cfg, seq_len=32, stride=8)
    before = small_model(parameter_banks=True).state_dict()
    return {name: (tensor != before[name]).flatten(1).any(1) for name, tensor in model.state_dict().items() if tensor.ndim == 3}


def test_frozen_layers_stay_frozen_inside_banks() -> None:
    frozen, missed = adapted(misses=False), adapted(misses=True)
    assert frozen["mlp_up_bank"].tolist() == [False, False, True, True]
    assert frozen["qo_bank"].tolist() == [False, False, True, True] * 2
    assert all(changed.all() for changed in missed.values())


def test_ttt_tail_is_scored_again_only_under_quirk_1() -> None:
    def score(tail: bool) -> Any:
        cfg = TttConfig(lr=0.0, chunk_tokens=64, tail_rescoring=tail)
        return evaluate_score_first(small_model(), stream(321), np.ones(320), Scorer(False), cfg, seq_len=32, stride=8)

    once, again = score(False), score(True)
    assert (once.times_scored == 1).all()
    assert again.tokens == 320 + 3 * 8  # seq_len / stride - 1 windows more
    assert again.times_scored[-8:].tolist() == [4] * 8


CAPPED = {"iterations": 1000, "max_wallclock_seconds": 20.0, "gptq_reserve_seconds": 10.0, "warmdown_frac": 0.5}


@pytest.mark.parametrize(("quirks", "planned"), [((), 6), ((22,), 6), ((), 0)])
def test_planned_steps_make_the_schedule_independent_of_the_clock(
    quirks: tuple[int, ...],
    planned: int,
    few_docs: str,
    tmp_path: Path,
) -> None:
    rates = []
    for tick in (0.5, 1.0):
        t = trainer("tiny", few_docs, tmp_path, PhaseClock(FakeClock(tick)), quirks=quirks, planned_steps=planned, **CAPPED)
        used: list[float] = []
        step = t.optimizers.step
        t.optimizers.step = lambda k, m, step=step, used=used: (used.append(m), step(k, m))[1]  # type: ignore[method-assign]
        outcome = t.train(no_progress)
        rates.append(used[t.cfg.warmup_steps :])
        assert (outcome.steps == 6) == (planned == 6 and not quirks)
    assert (rates[0] == rates[1]) == (planned == 6 and not quirks)
    if planned and not quirks:
        assert rates[0] == pytest.approx([1, 1, 1, 1, 2 / 3, 1 / 3])


def test_a_plan_that_the_cap_cuts_short_is_a_warning(few_docs: str, tmp_path: Path) -> None:
    settings = {**CAPPED, "max_wallclock_seconds": 20.0, "planned_steps": 500}
    t = trainer("tiny", few_docs, tmp_path, PhaseClock(FakeClock(1.0)), **settings)
    outcome = t.train(no_progress)
    assert outcome.steps < 20
    assert isinstance(t.log, RunLog)
    assert f"WARNING: the learning rate had not come down: set PLANNED_STEPS={outcome.steps} (was 500)" in t.log.lines


def test_calibration_reads_new_windows_or_the_first_ones_again(few_docs: str, tmp_path: Path) -> None:
    first: dict[tuple[int, ...], list[bool]] = {}
    for quirks in ((), (12,)):
        t = trainer("tiny", few_docs, tmp_path, quirks=quirks, gptq_calibration_batches=1, warmup_steps=0)
        seen = []
        batch = t.next_batch
        t.next_batch = lambda batch=batch, seen=seen: (seen.append(batch()), seen[-1])[1]  # type: ignore[method-assign,misc]
        t.train(no_progress)
        calibrate(t, RunLog())
        first[quirks] = [torch.equal(seen[-1][0], x) for x, _ in seen[:-1]]
        assert t.clock.charged("train") >= t.clock.spent("calibration") > 0  # training data: training time
    assert not any(first[()])
    assert first[(12,)] == [True, False, False, False]


def test_a_withdrawn_byte_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.meta.npz"
    column = np.zeros(2, bool)
    np.savez(path, format_version=1, base_bytes=np.array([0, 3]), has_leading_space=column, is_boundary_token=column)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    monkeypatch.setitem(tokbytes.WITHDRAWN_TABLES, digest, "it counts too many bytes")
    with pytest.raises(TrainerError, match=r"too many bytes.*--quirk 19"):
        tokbytes.byte_table_from_metadata(path, 2)
    assert tokbytes.byte_table_from_metadata(path, 2, accept_withdrawn=True).base_bytes.tolist() == [0, 3]


def test_switches_are_off_unless_asked_for() -> None:
    for name in preset_names():
        assert make_config(read_preset(name), {}).quirks == ()
        parity = make_config(read_preset(name), {}, parity=True)
        assert parity.quirks == tuple(sorted(parity.parity_quirks))
