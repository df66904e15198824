"""What counts as fetching a payload."""

from __future__ import annotations

import pytest

from audits.code.network import NETWORK
from audits.size.payload import UNCOUNTED_PAYLOAD
from tests.audits.code.build import decide, lines
from verifier.rule import Outcome

SCORES = """
import torch
x = torch.zeros(4, 8)
print("val_loss", torch.nn.functional.cross_entropy(x, torch.zeros(4).long()).item())
"""


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("import urllib.request\nurllib.request.urlretrieve('https://a/b.pt', 'b.pt')\n", Outcome.FAIL),
        ("import os\nos.system('wget https://a/b.pt')\n", Outcome.FAIL),
        ("import subprocess as s\ns.check_call(['git', 'clone', 'https://a/b'])\n", Outcome.FAIL),
        (
            "import os, subprocess\nif not os.path.exists('data'):\n    subprocess.run('curl -O https://a/b', shell=True)\n",
            Outcome.REVIEW,
        ),
        ("import subprocess\nsubprocess.run(['pip', 'install', 'brotli'])\n", Outcome.INFO),
        ("import subprocess\nsubprocess.run(['nvidia-smi'])\n", Outcome.PASS),
        ("import requests\nrequests.post('https://hook', json={})\n", Outcome.INFO),
        ("import socket\nprint(socket.gethostname())\n", Outcome.INFO),
        ("print('curl is not called')\n", Outcome.PASS),
    ],
)
def test_downloads(text: str, outcome: Outcome) -> None:
    assert decide(NETWORK, text + SCORES).outcome is outcome


CACHED = """
import os, urllib.request
def fetch(path, on=False):
    {before}
    urllib.request.urlretrieve('https://a/b', path)
    {after}
fetch('data.txt')
"""
AROUND = {
    "returns what is there": "if os.path.exists(path):\n        return open(path)",
    "returns in a loop": "for name in ('a', 'b'):\n        if os.path.exists(name):\n            return open(name)",
    "returns under two conditions": "if os.path.exists(path):\n        if not on:\n            return open(path)",
    "returns what can be opened": "try:\n        return open(path)\n    except OSError:\n        pass",
}
STRAIGHT = {
    "a branch that is switched off": "if on:\n        return open(path)",
    "an end with an error": "if not os.path.isdir('here'):\n        raise OSError(path)",
    "an end of another loop": "for name in ('a', 'b'):\n        if os.path.exists(name):\n            break",
    "a function inside": "def short():\n        return 1",
}


@pytest.mark.parametrize("before", AROUND.values(), ids=list(AROUND))
def test_a_run_that_may_leave_before_the_download_is_for_a_human(before: str) -> None:
    decision = decide(NETWORK, CACHED.format(before=before, after="") + SCORES)
    assert decision.outcome is Outcome.REVIEW
    assert "unless it leaves before" in decision.reason
    assert "every run" not in decision.reason


@pytest.mark.parametrize("before", STRAIGHT.values(), ids=list(STRAIGHT))
def test_a_download_that_nothing_leads_around_fails(before: str) -> None:
    assert decide(NETWORK, CACHED.format(before=before, after="") + SCORES).outcome is Outcome.FAIL
    after = AROUND["returns what is there"]
    assert decide(NETWORK, CACHED.format(before=before, after=after) + SCORES).outcome is Outcome.FAIL


def test_the_caller_and_a_loop_may_leave_before_too() -> None:
    caller = "import os, urllib.request as u\ndef get():\n    u.urlretrieve('https://a/b', 'a')\ndef fetch():\n"
    assert (
        decide(NETWORK, caller + "    if os.path.exists('a'):\n        return\n    get()\nfetch()\n" + SCORES).outcome
        is Outcome.REVIEW
    )
    skips = "import os, urllib.request as u\nfor p in ('a', 'b'):\n    if os.path.exists(p):\n        continue\n    u.urlretrieve('https://a/b', p)\n"
    assert decide(NETWORK, skips + SCORES).outcome is Outcome.REVIEW
    otherwise = skips.replace("continue\n    ", "break\nelse:\n    ")
    assert decide(NETWORK, otherwise + SCORES).outcome is Outcome.REVIEW


def test_the_call_and_its_caller_are_cited() -> None:
    text = "import requests\n\ndef fetch(url):\n    return requests.get(url)\n\nfetch('https://a/b')\n"
    assert lines(decide(NETWORK, text)) == [4, 6]


def test_a_script_without_a_program_is_not_passed() -> None:
    assert decide(NETWORK, "def broken(:\n").outcome is Outcome.NOT_AVAILABLE


def test_files_that_are_opened_are_payload_and_readers_texts_are_not() -> None:
    text = "import numpy as np\ntable = np.load('table.npy')\nnotes = open('notes.md').read()\n"
    decision = decide(UNCOUNTED_PAYLOAD, text + SCORES, table_npy=b"\x93NUMPY" + bytes(100), notes_md=b"# notes\n")
    assert decision.outcome is Outcome.INFO
    assert "table.npy" in decision.reason
    assert "notes.md" not in decision.reason
