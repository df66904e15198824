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
