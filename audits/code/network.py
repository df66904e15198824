"""NET001: what the program fetches over the network while it trains or evaluates."""

from __future__ import annotations

import re

from audits.code.early_exits import way_around
from verifier.engine.context import Context
from verifier.program.analysis import Analysis, analysis_of
from verifier.program.events import Event
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule

_README = "https://github.com/openai/parameter-golf#readme"
_TOOLS = re.compile(
    r"(?:^|[\s;&|/])(?:wget|curl|aria2c|gsutil|gdown|rsync|scp|rclone|huggingface-cli|hf)\s|\bgit(?:\s+-\S+)*\s+(?:clone|pull|fetch|lfs)\b|"
    r"\baws\s+s3\b|cached_challenge_fineweb"
)
"""Programs that a script starts to fetch data."""
_INSTALLS = re.compile(r"\b(?:pip3?|uv|conda|apt|apt-get)\b.{0,40}\binstall\b")
_PACKAGES = re.compile(r"\bget-pip\b|\bpypi\.org\b|\bpypa\.io\b|\bpythonhosted\.org\b|\bdownload\.pytorch\.org\b|\.whl\b")
_HARMLESS = (
    "kernels.get_kernel", "socket.gethostname", "socket.gethostbyname", "socket.getfqdn", "socket.socket", "huggingface_hub.login",
    "huggingface_hub.HfApi", "urllib.request.Request", "requests.Session", "socket.AF_INET", "socket.SOCK_STREAM",
)  # fmt: skip
"""Kernels of a hub, and names and sockets of the machine itself."""
_LOCAL = re.compile(r"datasets\.load_dataset (?:json|text|csv|parquet|arrow|[./])(?!.*https?://)|local_files_only|file://")
"""Loaders of a library for data that is on the disk."""
_SENDS = re.compile(r"^(?:requests|httpx)\.(?:post|put|patch)\b|upload")
_CONTEST_DATA = re.compile(r"parameter-golf|fineweb|tokenizer|datasets?/", re.IGNORECASE)


def check(context: Context) -> Decision:
    analysis = analysis_of(context)
    if not analysis.available:
        return Decision.not_available(analysis.why_not)
    trace = analysis.run
    findings = [_describe(analysis, event) for event in _fetches(trace.of("network", "process"))]
    if any(finding.outcome is not Outcome.INFO for finding in findings):
        return Decision.of(findings)
    if gap := analysis.gap():
        return Decision.not_available(gap, *findings)
    reached = len(trace.reached)
    return Decision.passed(f"none of the {reached} statements that the run executes fetches data or weights", *findings)


def _fetches(events: tuple[Event, ...]) -> list[Event]:
    """The network calls and downloading programs, one event per place."""
    found: dict[object, Event] = {}
    for event in events:
        local = event.kind == "network" and _LOCAL.search(event.text) is not None
        if not local and (event.kind == "network" or _TOOLS.search(event.text) or _INSTALLS.search(event.text)):
            found.setdefault(event.site, event)
    return list(found.values())


def _describe(analysis: Analysis, event: Event) -> Finding:
    places = tuple(dict.fromkeys(analysis.location(site) for site in (event.site, *event.stack[-1:])))
    what = " ".join(event.text.split())[:120]
    if _PACKAGES.search(event.text) or (event.kind == "process" and _INSTALLS.search(event.text)):
        return Finding(Outcome.INFO, f"a package is installed while the script runs: {what}", places)
    if event.kind == "network" and event.text.startswith(_HARMLESS):
        return Finding(Outcome.INFO, f"compute kernels or the machine's own name, no payload: {what}", places)
    if event.kind == "network" and _SENDS.search(event.text):
        return Finding(Outcome.INFO, f"something is sent, nothing is fetched: {what}", places)
    guarded = next((guard for guard in reversed(event.guards)), None)
    around = way_around(analysis, event) if guarded is None else None
    if guarded is not None or around is not None:
        if guarded is not None:
            site, condition = guarded.site, f"only under `{guarded.text[:80]}`" if guarded.text else "only under a condition"
        elif around is not None:
            site, condition = around[0], f"unless it leaves before at `{around[1][:80]}`"
        prepares = " (the contest's own data, by its name)" if _CONTEST_DATA.search(event.text) else ""
        return Finding(
            Outcome.REVIEW,
            f"a live path downloads, {condition}{prepares}: {what}",
            (*places, analysis.location(site)),
            Confidence.MEDIUM,
            remediation="prepare data in a separate script, and let the training script read what is there",
        )
    return Finding(
        Outcome.FAIL,
        f"a path that every run takes downloads: {what}",
        places,
        remediation="ship what the script needs inside the counted bytes, or prepare data in a separate script",
    )


NETWORK = Rule(
    code="NET001",
    name="network-access",
    level=Level.ERROR,
    summary="a live path of training or evaluation downloads data, weights or any payload",
    why="Whatever comes over the network is outside the 16,000,000 bytes: a teacher's logits, pretrained weights or a table fetched at "
    "run time would make any score possible. Compute kernels and packages are tools, not payload.",
    example="violation: `urllib.request.urlretrieve(URL, 'teacher.pt')` in main()\n"
    "legal: `get_kernel('kernels-community/flash-attn3')`; data preparation behind a flag that is off in the run",
    settles="whether the call is reached under the configuration of the run, and what it fetches",
    sources=(_README,),
    check=check,
)

RULES = (NETWORK,)
