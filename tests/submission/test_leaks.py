"""Personal paths and credentials: what names a person or opens a door, and what doesn't. Tokens are assembled, not written out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.submission.leaks import PER_FILE, find_leaks

RANDOM = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE4fG6"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("data_path: /home/jdoe42/golf/data", "/home/jdoe42"),
        ('  File "/Users/jane.doe/pg/train_gpt.py", line 3', "/Users/jane.doe"),
        (r"wrote C:\Users\Jane\golf\model.bin", r"C:\Users\Jane"),
        (r'{"path": "C:\\Users\\Jane\\golf"}', r"C:\\Users\\Jane"),
        ("see file:///home/jdoe42.", None),
        ("cd /home/jdoe42", "/home/jdoe42"),
    ],
)
def test_a_home_directory_is_found_with_its_line(line: str, what: str | None) -> None:
    leaks = find_leaks("train.log", f"seed:42\n{line}\n".encode())
    assert [(leak.kind, leak.what, leak.source.line) for leak in leaks] == ([("path", what, 2)] if what else [])


@pytest.mark.parametrize(
    "line",
    [
        "/workspace/parameter-golf/data /root/.cache /content/drive /tmp/x /home/ubuntu/pg /home/runner/work",
        "https://example.org/home/jdoe/page and www.example.org/Users/jdoe/",
        "cd /home/<user>/golf; cd /home/$USER/golf; cd /home/your_name/golf; cd ~/golf",
        "/Users/Shared/x",
        "./home/jdoe/x",
        "hf_hub_download(repo) and sk-learn and ghp_short and AKIA",
        "HF_TOKEN=hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "OPENAI_API_KEY=sk-your-key-goes-here-and-nowhere-else-please",
    ],
)
def test_shared_accounts_links_and_placeholders_are_not(line: str) -> None:
    assert find_leaks("train.log", line.encode()) == ()


@pytest.mark.parametrize(
    ("secret", "title"),
    [
        ("hf_" + RANDOM[:34], "Hugging Face token"),
        ("sk-" + "proj-" + RANDOM, "OpenAI or Anthropic key"),
        ("AKIA" + "Z7Q2M4N6P8R1S3T5", "AWS access key"),
        ("ghp_" + RANDOM, "GitHub token"),
        ("WANDB_API_KEY=" + "0123456789abcdef" * 2 + "01234567", "Weights & Biases key"),
    ],
)
def test_a_credential_is_found_and_never_shown(secret: str, title: str) -> None:
    (leak,) = find_leaks("run.sh", f"export TOKEN={secret} # {secret}".encode())
    assert leak.kind == "credential"
    assert leak.what.startswith(title)
    assert secret[8:] not in leak.what + leak.source.excerpt


def test_a_private_key_is_found() -> None:
    (leak,) = find_leaks("id_rsa", b"-----BEGIN OPENSSH " + b"PRIVATE KEY-----\nabc")
    assert leak.what.startswith("private key")


def test_each_leak_counts_once_a_file_and_their_number_is_limited() -> None:
    assert len(find_leaks("train.log", b"/home/jdoe42/x\n" * 5000)) == 1
    assert len(find_leaks("train.log", b"".join(b"/home/jdoe%d/x\n" % number for number in range(500)))) == PER_FILE


def test_utf16_logs_are_searched() -> None:
    assert [leak.what for leak in find_leaks("train.log", "x\nat /home/jdoe42/x".encode("utf-16"))] == ["/home/jdoe42"]


@given(st.binary(max_size=300))
def test_any_bytes(noise: bytes) -> None:
    find_leaks("x", b"/home/" + noise)
