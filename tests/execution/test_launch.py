"""The seam to the sandbox."""

from __future__ import annotations

from pathlib import Path

from verifier.execution.launch import launch
from verifier.execution.workspace import dataset_names, needs_compiler


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
