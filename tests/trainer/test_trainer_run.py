"""Presets, schedules, the training loop, resuming, determinism, several processes, and record folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from reference_train.averaging import ExponentialAverage, StochasticAverage  # noqa: E402
from reference_train.build import build_model, model_config  # noqa: E402
from reference_train.bundle import bundle_source  # noqa: E402
from reference_train.cli import main  # noqa: E402
from reference_train.config import (  # noqa: E402
    make_config,
    preset_names,
    read_preset,
)
from reference_train.data import load_data  # noqa: E402
from reference_train.errors import TrainerError  # noqa: E402
from reference_train.optim import OptimConfig, Optimizers, group_parameters  # noqa: E402
from reference_train.pack import unpack_code  # noqa: E402
from reference_train.run import SeedResult, run_seed  # noqa: E402
from reference_train.runlog import RunLog  # noqa: E402
from reference_train.schedule import PhaseClock, training_fraction, warmdown_by_fraction, warmdown_by_iterations  # noqa: E402
from reference_train.train import Ranks, Trainer  # noqa: E402

QUICK: dict[str, Any] = {
    "iterations": 4,
    "warmup_steps": 1,
    "train_batch_tokens": 512,
    "train_seq_len": 64,
    "eval_seq_len": 64,
    "eval_stride": 64,
    "ttt_chunk_tokens": 4096,
    "gptq_calibration_batches": 2,
    "val_loss_every": 0,
    "num_layers": 6,
    "model_dim": 32,
    "num_heads": 2,
    "num_kv_heads": 1,
    "mlp_mult": 2.0,
    "passthrough_numel": 600,
}


ARGUMENTS = [f"{name.upper()}={value}" for name, value in QUICK.items() if name != "val_loss_every"]


def quick(preset: str, docs: str, *, parity: bool = False, **settings: Any) -> Any:
    return make_config(read_preset(preset), QUICK | {"data_path": docs} | settings, parity=parity)


def run(cfg: Any, folder: Path, **options: Any) -> SeedResult:
    script = folder / "train_gpt.py"
    script.write_text("# script\n")
    log = options.pop("log", RunLog())
    return run_seed(cfg, work_dir=folder, script=script, artifact_path=folder / "model.ptz", ranks=Ranks(), log=log, **options)


def trainer(cfg: Any, folder: Path, clock: PhaseClock | None = None) -> Trainer:
    return Trainer(cfg, load_data(cfg, folder), Ranks(), clock or PhaseClock(), RunLog())


def test_every_preset_describes_a_model() -> None:
    counts = {
        "baseline": 17_059_912,
        "sp8192-sdclip-recurrence": 37_022_812,
        "scylla-gptq": 27_050_854,
        "scylla-ttt": 28_042_332,
        "caseops": 35_944_536,
        "caseops-prequant-ttt": 35_944_536,
    }
    for name in preset_names():
        cfg = make_config(read_preset(name), {}, parity=True)
        with torch.device("meta"):
            params = sum(p.numel() for p in build_model_meta(cfg).parameters())
        assert params == counts.get(name, params)
        assert bool(cfg.forbidden) == cfg.prequant_ttt_enabled
        if name in counts:
            assert f"tiny-{name}" in preset_names()


def build_model_meta(cfg: Any) -> Any:
    from reference_train.model import GPT

    return GPT(model_config(cfg))


@pytest.mark.parametrize("preset", [name for name in preset_names() if name.startswith("tiny-")])
@pytest.mark.parametrize("parity", [False, True])
def test_tiny_presets_run_from_training_to_score(preset: str, parity: bool, few_docs: str, tmp_path: Path) -> None:
    quicker = {"recur_start_step": 2, "gptq_calibration_batches": 1, "ema_decay": 0.5, "prequant_ttt_epochs": 1}
    cfg = quick(preset, few_docs, parity=parity, **quicker)
    log = RunLog()
    result = run(cfg, tmp_path, log=log)
    assert result.outcome.train_curve[-1][1] < result.outcome.train_curve[0][1]
    assert 2 < result.val_bpb < 8
    before = "post-prequant-ttt" if cfg.forbidden else "pre-quantization post-ema"
    assert abs(result.metrics["quantized"].val_bpb - result.metrics[before].val_bpb) < 0.5
    assert result.ledger.model == (tmp_path / "model.ptz").stat().st_size
    assert f"{result.headline} val_loss:{result.val_loss:.8f}" in log.text
    assert ("recurrence:activated" in log.text) == model_config(cfg).is_recurrent


def test_same_seed_same_artifact_and_another_seed_another(few_docs: str, tmp_path: Path) -> None:
    hashes = [run(quick("tiny", few_docs, seed=seed), tmp_path).artifact_sha256 for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("preset", ["tiny", "tiny-scylla-ttt"])
def test_resuming_gives_the_artifact_of_an_uninterrupted_run(preset: str, few_docs: str, tmp_path: Path) -> None:
    cfg = quick(preset, few_docs)
    whole = run(cfg, tmp_path)
    checkpoint = tmp_path / "state.ckpt"

    def interrupt(step: int, steps: int, loss: float) -> None:
        if step == 2:
            os.kill(os.getpid(), 2)

    with pytest.raises(TrainerError, match="interrupted at step 2; state saved"):
        run(cfg, tmp_path, checkpoint=checkpoint, progress=interrupt)
    resumed = run(cfg, tmp_path, resume=checkpoint)
    assert resumed.artifact_sha256 == whole.artifact_sha256
    assert resumed.outcome.train_curve == whole.outcome.train_curve
    with pytest.raises(TrainerError, match=r"saved with MATRIX_LR=\S+, this run has 0.5"):
        run(quick(preset, few_docs, matrix_lr=0.5), tmp_path, resume=checkpoint)
    with pytest.raises(TrainerError, match="saved with SEED=1337, this run has 7"):
        run(quick(preset, few_docs, seed=7), tmp_path, resume=checkpoint)


def test_warmup_leaves_no_trace(few_docs: str, tmp_path: Path) -> None:
    curves = []
    for steps in (0, 3):
        t = trainer(quick("tiny-caseops", few_docs, warmup_steps=steps), tmp_path)
        curves.append(t.train(lambda step, steps, loss: None).train_curve)
    assert curves[0] == curves[1]


def test_accumulation_equals_one_large_batch(few_docs: str, tmp_path: Path) -> None:
    losses = []
    for accum in (1, 2):
        cfg = quick("tiny", few_docs, grad_accum_total=accum, loader="sequential", train_batch_tokens=128)
        t = trainer(cfg, tmp_path)
        # The sequential loader uses one token more per span, so feed both the same windows.
        rows = torch.arange(130).remainder(200).view(2, 65)
        batches = iter([(rows[:, :-1], rows[:, 1:])] if accum == 1 else [(r[None, :-1], r[None, 1:]) for r in rows])
        t.next_batch = lambda batches=batches: next(batches)  # type: ignore[method-assign,misc]
        losses.append([t.optimize(0, 1.0), t.model.tok_emb.weight.detach().clone()])
    assert losses[0][0] == pytest.approx(losses[1][0], abs=1e-5)
    assert torch.allclose(losses[0][1], losses[1][1], atol=1e-4)


def test_not_a_number_stops_before_the_weights_change(few_docs: str, tmp_path: Path) -> None:
    t = trainer(quick("tiny", few_docs), tmp_path)
    with torch.no_grad():
        t.model.blocks[0].attn_scale.fill_(float("nan"))
    before = t.model.tok_emb.weight.detach().clone()
    with pytest.raises(TrainerError, match=r"loss is nan at step 0: lower MATRIX_LR"):
        t.optimize(0, 1.0)
    assert torch.equal(before, t.model.tok_emb.weight)


class FakeClock:
    """A clock that advances by a fixed amount each time it is read."""

    def __init__(self, tick: float) -> None:
        self.now, self.tick = 0.0, tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


def test_wallclock_cap_stops_training_and_names_it(few_docs: str, tmp_path: Path) -> None:
    cfg = quick("tiny", few_docs, max_wallclock_seconds=30.0, gptq_reserve_seconds=10.0, iterations=1000)
    t = trainer(cfg, tmp_path, PhaseClock(FakeClock(1.0)))
    log = t.log
    outcome = t.train(lambda step, steps, loss: None)
    assert 2 <= outcome.steps <= 20
    assert isinstance(log, RunLog)
    assert f"step: {outcome.steps}/1000" in log.lines[-2]
    assert log.lines[-2].startswith("stopping_early: wallclock_cap train_time: 2")


def test_phases_nest_and_budgets_are_separate() -> None:
    clock = FakeClock(0.0)
    phases = PhaseClock(clock)
    with phases.phase("training", "train"):
        clock.now += 5
        with phases.phase("validation", "validation"):
            clock.now += 2
        clock.now += 1
        assert phases.spent("training") == 6
    with phases.phase("calibration", "train"):
        clock.now += 3
    assert phases.charged("train") == 9
    assert phases.charged("validation") == 2
    with pytest.raises(ValueError, match="tag"), phases.phase("x", "training"):
        pass


def test_schedules_match_golden() -> None:
    assert warmdown_by_iterations(5701, 20_000, 4000, 5701 * 0.09522, 600) == pytest.approx(0.1499, abs=5e-4)
    assert warmdown_by_iterations(5630, 9000, 3500, 5630 * 0.09745, 600) == pytest.approx(0.1506, abs=5e-4)
    assert warmdown_by_iterations(100, 20_000, 4000, 9.5, 600) == 1
    assert warmdown_by_iterations(90, 100, 20, 0, 0) == 0.5
    for seconds, expected in ((165.1, 1.0), (377.6, 0.5), (590.0, 0.0)):
        fraction = training_fraction(0, 1, seconds, 590)
        assert warmdown_by_fraction(fraction, 0.72, 0.0) == pytest.approx(expected, abs=1e-3)
    assert training_fraction(0, 1, 205.8, 588) == pytest.approx(0.35, abs=1e-6)
    model = torch.nn.Linear(2, 2)
    cfg = OptimConfig(muon_momentum=0.99, muon_momentum_warmup_start=0.92, muon_momentum_warmup_steps=1500)
    optimizers = Optimizers(torch.nn.ModuleDict({"tok_emb": torch.nn.Embedding(2, 2), "m": model}), cfg, tied=True)
    assert [optimizers.momentum_at(step) for step in (0, 750, 1500, 9000)] == pytest.approx([0.92, 0.955, 0.99, 0.99])


def test_averages_match_their_closed_form() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
        ema, swa = ExponentialAverage(model, 0.9), StochasticAverage()
        for value in (2.0, 4.0):
            model.weight.fill_(value)
            ema.update(model)
            swa.update(model)
    assert ema.shadow["weight"].item() == pytest.approx(0.81 + 0.9 * 0.1 * 2 + 0.1 * 4)
    assert swa.mean["weight"].item() == 3.0
    assert pytest.approx(2.8e-8, rel=0.02) == 0.9965**4964


def test_every_parameter_is_trained_by_one_optimizer() -> None:
    for preset in ("tiny-sp8192-sdclip-recurrence", "tiny-scylla-gptq", "tiny-scylla-ttt", "tiny-caseops"):
        model = build_model(make_config(read_preset(preset), {}), torch.device("cpu"))
        groups = group_parameters(model)
        names = [*groups.embeddings, *groups.matrices, *groups.scalars, *groups.head]
        assert sorted(names) == sorted(name for name, _ in model.named_parameters())
        assert "blocks.0.resid_mix" in groups.scalars
        assert "tok_emb.weight" in groups.embeddings
        assert ("bigram.proj.weight" in groups.scalars) == (preset == "tiny-scylla-ttt")


def test_late_qat_rounds_weights_and_leaves_the_gradient() -> None:
    from reference_train.model import fake_quantize

    weight = torch.randn(4, 64, requires_grad=True)
    rounded = fake_quantize(weight, 7)
    assert len(rounded.detach()[0].div(weight.detach()[0].abs().max() / 7).round().unique()) <= 15
    assert not torch.equal(rounded, weight)
    rounded.sum().backward()
    assert weight.grad is not None
    assert (weight.grad == 1).all()


def test_pruning_brings_a_submission_below_the_cap(few_docs: str, tmp_path: Path) -> None:
    settings = {"matrix_quantizer": "sdclip", "gptq_calibration_batches": 1}
    whole = run(quick("tiny", few_docs, **settings), tmp_path)
    cap = whole.ledger.total - 400
    with pytest.raises(TrainerError, match="SELECTIVE_PRUNE=1"):
        run(quick("tiny", few_docs, **settings), tmp_path, cap=cap)
    log = RunLog()
    pruned = run(quick("tiny", few_docs, selective_prune=True, **settings), tmp_path, cap=cap, log=log)
    assert pruned.ledger.total <= cap
    assert "selective_prune: pruning" in log.text
    assert pruned.val_bpb == pytest.approx(whole.val_bpb, abs=0.3)


def test_interrupt_without_a_checkpoint_says_so(few_docs: str, tmp_path: Path) -> None:
    def interrupt(step: int, steps: int, loss: float) -> None:
        os.kill(os.getpid(), 2)

    with pytest.raises(TrainerError, match="nothing is saved"):
        run(quick("tiny", few_docs), tmp_path, progress=interrupt)


def test_state_at_the_end_of_training_goes_on_to_the_artifact(few_docs: str, tmp_path: Path) -> None:
    cfg = quick("tiny", few_docs)
    whole = run(cfg, tmp_path, checkpoint=tmp_path / "end.ckpt")
    resumed = run(cfg, tmp_path, resume=tmp_path / "end.ckpt")
    assert resumed.artifact_sha256 == whole.artifact_sha256
    assert len(resumed.outcome.train_curve) == 4
    nowhere = tmp_path / "model.ptz" / "below-a-file.ckpt"
    log = RunLog()
    run(cfg, tmp_path, checkpoint=nowhere, log=log)
    assert "WARNING: the state after training is not saved" in log.text


def test_what_the_forbidden_methods_gain(few_docs: str, capsys: pytest.CaptureFixture[str]) -> None:
    from reference_train.measure_forbidden import main as measure

    measure([*ARGUMENTS, f"DATA_PATH={few_docs}", "PREQUANT_TTT_FREEZE_BLOCKS=1", "PREQUANT_TTT_LR=0.01"])
    lines = capsys.readouterr().out.splitlines()
    gains = [float(line.rsplit("(", 1)[1].rstrip(")")) for line in lines]
    assert gains[0] == 0
    assert all(gain < -0.05 for gain in gains[1:])
    assert len(gains) == 4


@pytest.mark.parametrize("preset", ["tiny-scylla-ttt", "tiny-sp8192-sdclip-recurrence"])
def test_sixteen_bit_arithmetic_of_the_gpu_presets_runs_here(preset: str, few_docs: str, tmp_path: Path) -> None:
    cfg = quick(preset, few_docs, bf16_embeddings=True, compute_dtype="bfloat16", tie_embeddings=False, grad_accum_total=2)
    result = run(cfg, tmp_path)
    assert result.outcome.train_curve[-1][1] < result.outcome.train_curve[0][1]


def test_gpu_preset_without_gpu_names_the_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert main(["--preset", "baseline"]) == 2
    assert "tiny-baseline" in capsys.readouterr().err


def test_record_folder_holds_what_it_says(few_docs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "record"
    arguments = [*ARGUMENTS, f"DATA_PATH={few_docs}", "VAL_LOSS_EVERY=0"]
    assert main(["--preset", "tiny", "--record-dir", str(record), "--seeds", "1,2", "--quiet", *arguments]) == 0
    assert "artifact sha256" in capsys.readouterr().out
    names = {path.name for path in record.iterdir()}
    assert names == {
        "README.md",
        "submission.json",
        "train_seed1.log",
        "train_seed2.log",
        "train_gpt.py",
        "final_model.ptz",
        "curve.svg",
    }
    submission = json.loads((record / "submission.json").read_text())
    seeds = submission["seed_results"]
    assert submission["val_bpb"] == pytest.approx((seeds["1"]["val_bpb"] + seeds["2"]["val_bpb"]) / 2)
    code = (record / "train_gpt.py").stat().st_size
    assert submission["bytes_total"] == max(s["artifact_bytes"] for s in seeds.values())
    assert submission["bytes_total"] == code + submission["bytes_model"]
    log = (record / "train_seed2.log").read_text()
    assert f"Code size: {code} bytes" in log
    assert f"quantized_ttt val_loss:{seeds['2']['val_loss']:.8f}" in log
    assert f"Total submission size quantized+brotli: {seeds['2']['artifact_bytes']} bytes" in log
    # The script in the folder is the trainer: run as a file, without the package, it gives the same artifact.
    source = unpack_code((record / "train_gpt.py").read_text())
    assert "import reference_train" not in source
    assert "prequant_ttt(model" not in source
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"SEED": "2"}
    done = subprocess.run(
        [sys.executable, "-P", "train_gpt.py", "--quiet", "--seeds", "2"],
        cwd=record,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    digest = next(line for line in log.splitlines() if line.startswith("artifact_sha256:")).split(":")[1]
    assert digest in done.stdout


def test_a_legal_script_cannot_be_told_to_cheat(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("bundled")
    module.__file__ = "train_gpt.py"
    monkeypatch.setitem(sys.modules, "bundled", module)
    exec(bundle_source(make_config(read_preset("tiny"), {})), module.__dict__)  # noqa: S102
    with pytest.raises(module.TrainerError, match="written without what the rules forbid"):
        module.parse_setting("NGRAM_ENABLED", "1")


def test_bundle_has_no_colliding_names() -> None:
    import ast

    tree = ast.parse(bundle_source(make_config(read_preset("tiny-caseops-prequant-ttt"), {})))
    seen: set[str] = set()
    for node in tree.body:
        name = getattr(node, "name", None)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        if name is not None:
            assert name not in seen, name
            seen.add(name)
    assert "prequant_ttt" in seen
