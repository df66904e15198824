"""The presets of the submitted systems on their own kind of data: SentencePiece, a byte table, CaseOps with a sidecar.

Only sizes are changed; the quirks are on and the arithmetic is that of a GPU run (bf16).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
spm = pytest.importorskip("sentencepiece")

from reference_train.build import build_model  # noqa: E402
from reference_train.caseops import CASE_CONTROLS, caseops_encode, caseops_piece_bytes  # noqa: E402
from reference_train.config import make_config, read_preset  # noqa: E402
from reference_train.data import load_data  # noqa: E402
from reference_train.loaders import make_loader  # noqa: E402
from reference_train.runlog import RunLog  # noqa: E402
from reference_train.shards import write_shard  # noqa: E402
from tests.trainer.test_trainer_run import QUICK, quick, run  # noqa: E402

VOCAB = 420
HELD_OUT = 4


def export(texts: list[str], folder: Path, caseops: bool) -> int:
    """Train a tokenizer and write shards the way the challenge's exporter does; returns the bytes of the held-out text."""
    folder.mkdir()
    shown = [caseops_encode(text) if caseops else text for text in texts]
    (folder / "text.txt").write_text("\n".join(shown), encoding="utf-8")
    spm.SentencePieceTrainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "sp"), vocab_size=400, model_type="bpe",
        byte_fallback=True, character_coverage=1.0, add_dummy_prefix=False, pad_id=0, bos_id=1, eos_id=2, unk_id=3,
        minloglevel=2, normalization_rule_name="identity", remove_extra_whitespaces=False, hard_vocab_limit=False,
        user_defined_symbols=list(CASE_CONTROLS) if caseops else [],
    )  # fmt: skip
    model = spm.SentencePieceProcessor(model_file=str(folder / "sp.model"))
    ids: list[list[int]] = []
    charges: list[list[int]] = []
    for text in shown:
        pieces = model.encode(text, out_type=str)
        surfaces = [chr(int(p[3:5], 16)) if p.startswith("<0x") else p.replace("\u2581", " ") for p in pieces]
        assert "".join(surfaces) == text
        ids.append([1, *(model.piece_to_id(p) for p in pieces)])
        charges.append([0, *(caseops_piece_bytes(surfaces) if caseops else [])])
    write_shard(folder / "fineweb_val_000000.bin", np.concatenate(ids[:HELD_OUT]))
    if caseops:
        write_shard(folder / "fineweb_val_bytes_000000.bin", np.concatenate(charges[:HELD_OUT]))
    for index, part in enumerate(np.array_split(np.concatenate(ids[HELD_OUT:]), 3)):
        write_shard(folder / f"fineweb_train_{index:06d}.bin", part)
    return sum(len(text.encode()) for text in texts[:HELD_OUT])


SMALLER: dict[str, dict[str, Any]] = {
    "baseline": {},
    "sp8192-sdclip-recurrence": {"ve_layers": (4, 5), "recur_layers": (2, 3), "recur_start_step": 1, "parallel_start_layer": 4},
    "scylla-gptq": {"ve_layers": (4, 5)},
    "scylla-ttt": {"ve_layers": (4, 5), "ttt_epochs": 1},
    "caseops": {"loop_start": 2, "loop_end": 3},
    "caseops-prequant-ttt": {"loop_start": 2, "loop_end": 3, "prequant_ttt_epochs": 1},
}


@pytest.fixture(scope="module")
def exported(few_docs: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    folder = tmp_path_factory.mktemp("exported")
    texts = [json.loads(line)["text"] for line in Path(few_docs).read_text(encoding="utf-8").splitlines()]
    lengths = {kind: export(texts, folder / kind, kind == "caseops") for kind in ("plain", "caseops")}
    table = {"base_bytes": np.full(VOCAB, 2, np.int16), "has_leading_space": np.zeros(VOCAB, bool)}
    np.savez(folder / "x.meta.npz", format_version=1, is_boundary_token=np.zeros(VOCAB, bool), **table)  # type: ignore[arg-type]
    return folder, lengths


@pytest.mark.parametrize("preset", SMALLER)
def test_submitted_system_runs_on_its_own_kind_of_data(preset: str, exported: Any, tmp_path: Path) -> None:
    folder, lengths = exported
    kind = "caseops" if preset.startswith("caseops") else "plain"
    size = {
        "vocab_size": VOCAB,
        "device": "cpu",
        "compute_dtype": "bfloat16",
        "grad_accum_total": 2,
        "iterations": 2,
        "rope_dims": 8,
    }
    files = {
        "data_path": str(folder / kind),
        "tokenizer_path": str(folder / kind / "sp.model"),
        "tokenizer_meta_path": str(folder / "x.meta.npz"),
    }
    timing = {"max_wallclock_seconds": 0.0, "planned_steps": 0, "bigram_vocab_size": 64 if "scylla" in preset else 0}
    cfg = make_config(read_preset(preset), QUICK | size | files | timing | SMALLER[preset], parity=True)
    data = load_data(cfg, tmp_path)
    if preset.startswith(("baseline", "caseops")):
        # The stream is cut to whole windows, so at most one window of the held-out text is missing.
        assert 0 <= lengths[kind] - data.price.sum() <= 64 * 12
    log = RunLog()
    result = run(cfg, tmp_path, log=log)
    assert result.outcome.steps == 2
    assert result.outcome.train_curve[0][1] == pytest.approx(np.log(VOCAB), abs=0.1)  # a fresh model knows nothing
    assert ("byte_sidecar:enabled" in log.text) == (kind == "caseops")


@pytest.mark.parametrize(("preset", "gain"), [("tiny-scylla-gptq", 12**-0.5), ("tiny-scylla-ttt", 1.0)])
def test_auxiliary_projections_start_at_zero_or_orthogonal(preset: str, gain: float, few_docs: str) -> None:
    for quirks, expected in (((), 0.0), ((9,), gain)):
        model = build_model(quick(preset, few_docs, quirks=quirks), torch.device("cpu"))
        assert model.bigram is not None
        assert model.bigram.proj is not None
        singular = torch.linalg.svdvals(model.bigram.proj.weight.float())
        assert torch.allclose(singular, torch.full_like(singular, expected), atol=1e-2)


def drawn(shape: tuple[int, ...], how: Any, **options: Any) -> Any:
    tensor = torch.empty(shape)
    how(tensor, **options)
    return tensor


@pytest.mark.parametrize("preset", ["baseline", "sp8192-sdclip-recurrence", "scylla-gptq", "scylla-ttt", "caseops"])
def test_initial_weights_follow_the_draws_of_the_specification(preset: str) -> None:
    """Section 7, draw by draw: constructors in the order of the tensors, then what overwrites them."""
    small = {"vocab_size": 40, "model_dim": 128, "num_heads": 2, "num_kv_heads": 1, "mlp_mult": 1.5, "bigram_dim": 96}
    depth = {"baseline": 3}.get(preset, 11)
    exact = {"num_layers": depth, "device": "cpu", "bf16_embeddings": False}
    cfg = make_config(read_preset(preset), small | exact, parity=True)
    model = build_model(cfg, torch.device("cpu"))
    init = torch.nn.init
    banks, bigram, ve = cfg.parameter_banks, cfg.bigram_vocab_size, bool(cfg.ve_layers)
    torch.manual_seed(cfg.seed)

    def linear(rows: int, columns: int) -> Any:
        return drawn((rows, columns), init.kaiming_uniform_, a=5**0.5)

    drawn((40, 128), init.normal_)
    if bigram:
        drawn((bigram, cfg.bigram_dim), init.normal_)
        linear(128, cfg.bigram_dim)
    shapes = {"q": (128, 128), "k": (64, 128), "v": (64, 128), "out": (128, 128), "up": (192, 128), "down": (128, 192)}
    blocks = [{name: linear(*shape) for name, shape in shapes.items()} for _ in range(0 if banks else depth)]
    if ve:
        drawn((40, cfg.ve_dim), init.normal_)
        assert model.ve_shared is not None
        table = drawn((40, cfg.ve_dim), init.normal_, std=0.01)
        assert torch.equal(model.ve_shared.embed.weight, table)
        linear(64, cfg.ve_dim)
    assert torch.equal(model.tok_emb.weight, drawn((40, 128), init.normal_, std=0.005))
    if bigram and not banks:
        assert model.bigram is not None
        assert model.bigram.proj is not None
        expected = drawn((128, cfg.bigram_dim), init.orthogonal_) * (2 * depth) ** -0.5
        assert torch.allclose(model.bigram.proj.weight, expected, atol=1e-6)
    for i in range(depth):
        w = model.block_weights(i)
        for name in ("q", "k", "v", "up"):
            expected = blocks[i][name] if preset == "baseline" else drawn(shapes[name], init.orthogonal_)
            assert torch.equal(getattr(w, name), expected)
        assert not w.out.any()
        assert not w.down.any()
    if bigram and banks:
        assert model.bigram is not None
        assert model.bigram.proj is not None
        assert torch.equal(model.bigram.proj.weight, drawn((128, cfg.bigram_dim), init.orthogonal_))
    if ve:
        assert model.ve_shared is not None
        gain = (2 * depth) ** -0.5 if preset == "scylla-gptq" else 1.0
        assert torch.allclose(model.ve_shared.proj.weight, drawn((64, cfg.ve_dim), init.orthogonal_) * gain, atol=1e-6)


@pytest.mark.parametrize("kind", ["sequential", "coprime", "shuffled"])
def test_quirk_13_reads_the_same_batches_for_every_seed(kind: str, few_docs: str, tmp_path: Path) -> None:
    def batch(seed: int, quirks: tuple[int, ...]) -> list[list[int]]:
        cfg = quick("tiny", few_docs, seed=seed, quirks=quirks)
        paths = load_data(cfg, tmp_path).train_paths
        loader = make_loader(kind, paths, 0, 1, None if cfg.has(13) else cfg.seed, 64)
        return [row.tolist() for row in loader.next_batch(512, 64, 1)[0]]

    assert batch(1, (13,)) == batch(2, (13,))
    assert batch(1, ()) != batch(2, ())
