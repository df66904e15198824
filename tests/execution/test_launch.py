"""The seam to the sandbox."""

from __future__ import annotations

import json
from pathlib import Path

from verifier.execution.launch import launch
from verifier.execution.toy_data import make_data
from verifier.execution.toy_tokenizer import make_tokenizer
from verifier.execution.workspace import (
    INNER,
    dataset_names,
    leftover_bytes,
    local_path,
    named_after,
    needs_compiler,
    prepare,
    shard_prefixes,
    tokenizer_files,
)


def test_a_python_that_would_hand_over_the_home_folder_is_not_run(tmp_path: Path) -> None:
    ending = launch((), tmp_path, {}, Path.home() / "bin" / "python", 1.0, unsafe=False)
    assert not ending.started
    assert "home" in ending.detail


def test_shards_lie_where_the_script_builds_its_path() -> None:
    text = 'path = f"{data_dir}/datasets/fineweb10B_sp{vocab_size}_caseops/train"; other = "x/datasets/my_set/"'
    names = dataset_names(512, [text])
    assert names[0] == "fineweb10B_sp512"
    assert {"fineweb10B_sp512_caseops", "my_set"} <= set(names)
    assert len(dataset_names(512, ["datasets/a" + str(n) + " " for n in range(1000)])) <= 12


def test_the_compiler_is_loaded_only_for_programs_that_need_it() -> None:
    assert needs_compiler(["from torch.nn.attention.flex_attention import flex_attention"])
    assert not needs_compiler(["model = torch.compile(model)", "torch._dynamo.config.cache_size_limit = 64"])


def test_paths_of_another_machine_lead_into_the_working_folder() -> None:
    assert local_path("/workspace/golf/data/datasets/fineweb10B_sp8192") == "./data/datasets/fineweb10B_sp8192"
    assert local_path("../../../data/tokenizers/a.model") == "./data/tokenizers/a.model"
    assert local_path("/workspace/golf/data") == "./data"
    assert local_path("/runs/out") == "./runs/out"
    for kept in ("./data/x", "0.5", "/tmp/x", "a/../b", ""):
        assert local_path(kept) == kept


def test_names_hold_the_size_where_the_script_puts_it() -> None:
    text = 'f"{d}/tokenizers/fineweb_{h.vocab_size}_caps.model", "tokenizers/other.model", f"tokenizers/{name}.model"'
    assert named_after("tokenizers/", 512, [text]) == ("fineweb_512_caps.model", "other.model")


def test_what_a_script_leaves_has_its_own_names_wherever_it_ran(tmp_path: Path) -> None:
    for name in ("model.bin", f"{INNER}/final.ptz", "data/x.bin", "probe-record/events.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1234")
    assert leftover_bytes(tmp_path) == {"model.bin": 4, "final.ptz": 4}


def test_shards_and_models_lie_under_every_name_that_a_script_looks_for(tmp_path: Path) -> None:
    text = (
        'glob(f"fineweb_bpe4096_{split}_*.bin"); join(d, "fineweb_sp{vocab_size}_val_*.bin"); join(d, "fineweb_train_*.bin"); "fineweb_*.bin"\n'
        'join(d, "datasets", f"fineweb10B_sp{h.vocab_size}_casefold"); join(d, "fineweb_10240_casefold_bpe.model"); f"fineweb_{name}.model"'
    )
    assert shard_prefixes(512, [text]) == ("fineweb_bpe4096_train", "fineweb_bpe4096_val", "fineweb_sp512_val")
    assert tokenizer_files(512, [text]) == ("fineweb_10240_casefold_bpe.model",)
    assert "fineweb10B_sp512_casefold" in dataset_names(512, [text])
    data = make_data(make_tokenizer(512), 1)
    (tmp_path / "scratch").mkdir()
    (tmp_path / "folder").mkdir()
    laid = prepare(tmp_path / "folder", "train_gpt.py", (), data, [text], tmp_path / "scratch", {}, branches={})
    root = tmp_path / "scratch" / "data"
    val = (root / "datasets" / "fineweb10B_sp512_casefold" / "fineweb_val_000000.bin").read_bytes()
    for place in ("fineweb_bpe4096_val_000000.bin", "datasets/fineweb10B_sp512/fineweb_sp512_val_000000.bin"):
        assert (root / place).read_bytes() == val
        # A copied process swaps a token wherever the stream may be read from.
        assert f"data/{place}" in json.loads((tmp_path / "scratch" / "probe-plan.json").read_text())["branches"]["shards"]
    assert (root / "tokenizers" / "fineweb_10240_casefold_bpe.model").read_bytes() == data.tokenizer.serialize()
    assert laid.key
    plain = [*root.rglob("*.bin")]
    (tmp_path / "plain").mkdir()
    prepare(tmp_path / "folder", "train_gpt.py", (), data, ["fineweb_val_*.bin"], tmp_path / "plain", {})
    assert not list((tmp_path / "plain" / "data").glob("*.bin"))
    assert len(plain) > len([*(tmp_path / "plain" / "data").rglob("*.bin")])
