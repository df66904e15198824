"""What the program reaches for: the network, files that are not counted."""

from __future__ import annotations

from audits.unexamined import needs_program_analysis
from verifier.rule import Level, Outcome, Rule

_README = "https://github.com/openai/parameter-golf#readme"

NETWORK = Rule(
    code="NET001",
    name="network-access",
    level=Level.ERROR,
    summary="a live path of training or evaluation downloads data, weights or any payload",
    why="Whatever comes over the network is outside the 16,000,000 bytes.",
    example="violation: urllib.request.urlretrieve(URL, 'teacher.pt') in main()\n"
    "legal: loading compute kernels or packages from a hub; data preparation behind a flag that is off",
    settles="whether the call is reached under the configuration of the run, and what it fetches",
    sources=(_README,),
    check=needs_program_analysis,
)
UNCOUNTED_PAYLOAD = Rule(
    code="SIZ004",
    name="uncounted-payload",
    level=Level.WARNING,
    at_most=Outcome.REVIEW,
    summary="code or data that the script needs at eval time lies outside the counted bytes",
    why="Helper modules, C sources and tables are part of what a decoder needs. Most are small; the sum should be printed.",
    example="violation: a 3 MB table beside train_gpt.py that evaluation loads\nlegal: everything the evaluation opens is counted",
    settles="the list of files that the evaluation opens, with sizes",
    sources=(_README,),
    check=needs_program_analysis,
)

RULES = (NETWORK, UNCOUNTED_PAYLOAD)
