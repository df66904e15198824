"""CLM003 and CLM004: the documented command against the script that it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from audits.claims.live import LIVE_TOPICS, live_features
from audits.claims.stated import FEATURES, WORDS, denials, openly_claimed, traces
from audits.claims.switches import Switch, logged_switch, switches
from verifier.engine.context import Context
from verifier.ledger.claims import headline_runs
from verifier.ledger.configuration import documented_command, documented_commands
from verifier.program.analysis import analysis_of
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule
from verifier.submission.readme import Statement
from verifier.submission.submission import Submission

_PULL = "https://github.com/openai/parameter-golf/pull/"
LIBRARIES = [
    "NCCL_",
    "OMP_",
    "CUDA_",
    "CUBLAS_",
    "CUDNN_",
    "TORCH",
    "PYTORCH_",
    "TORCHINDUCTOR_",
    "TRITON_",
    "HF_",
    "HUGGINGFACE_",
    "TRANSFORMERS_",
    "TOKENIZERS_",
    "PYTHON",
    "WANDB_",
    "MASTER_",
    "NVIDIA_",
    "NVTE_",
    "MKL_",
    "GLOO_",
    "LD_",
    "MPS_",
    "MLX_",
    "XLA_",
    "KMP_",
    "GPU_",
    "TMP",
    "UV_",
    "PIP_",
    "LC_",
    "DEBIAN_",
    "MAX_JOBS",
    "TF_",
    "RAY_",
    "FLASH_ATTN",
]
"""Prefixes of variables that libraries, tools and the contest's own data script read, not the training script."""
SHELL = frozenset({"PATH", "HOME", "LANG", "PWD", "TERM", "USER", "SHELL", "RANK", "LOCAL_RANK", "WORLD_SIZE", "CC", "CXX"})
OTHER_TEXT = re.compile(
    r".*\.(?:sh|c|cc|cpp|cu|cuh|h|rs|toml|ya?ml|cfg|ini|env|json5|jsonnet)$|(?:.*/)?(?:Makefile|Dockerfile|\.env.*)$"
)


def check_unread(context: Context) -> Decision:
    """Variables that the documented command sets and no file of the folder mentions."""
    submission = context.submission
    commands = documented_commands(submission)
    if submission.program.main is None:
        return Decision.not_available("the folder has no script that the command could be compared with")
    if not commands:
        return Decision.not_available("the README documents no command that runs the script")
    scripts = (*submission.program.members, *submission.program.others)
    if any(script.opaque for script in scripts):
        return Decision.not_available("a packed script could not be unwrapped, so what it reads is unknown")
    if any(problem.kind in ("not-read", "too-large", "time-limit") for problem in submission.program.problems):
        return Decision.not_available("not every script of the folder was read")
    settings = {setting.name: setting for command in reversed(commands) for setting in command.settings}
    own = {name: setting for name, setting in settings.items() if not _is_library(name)}
    if not own:
        return Decision.not_applicable("the documented command sets no variables of the script")
    text = "\n".join(part for script in scripts for part in (script.text, *(layer.text or "" for layer in script.layers)))
    known = set(re.findall(r"[A-Za-z_][A-Za-z0-9_]{0,127}", text))
    used = _used_in_commands(commands)
    unread = [setting for name, setting in sorted(own.items()) if name not in known and name not in used]
    if not unread:
        return Decision.passed(f"all {len(own)} variables of the documented command are read")
    if _builds_names(text):
        return Decision.not_available("the script builds the names of its variables, so which ones it reads is unknown")
    elsewhere = [entry.path for entry in submission.files if not entry.junk and OTHER_TEXT.fullmatch(entry.path)]
    names = ", ".join(setting.name for setting in unread)
    finding = Finding(
        Outcome.REVIEW if elsewhere else Outcome.FAIL,
        f"the documented command sets {names}, which no Python file of the folder reads"
        + (f"; {', '.join(elsewhere[:3])} may read it" if elsewhere else ""),
        tuple(dict.fromkeys(setting.source for setting in unread)),
        Confidence.MEDIUM if elsewhere else Confidence.HIGH,
        Measured(len(unread), "variables"),
        remediation="drop the variables from the command, or ship the script version that reads them",
    )
    return Decision.of([finding])


def _is_library(name: str) -> bool:
    return name in SHELL or name.upper().startswith(tuple(LIBRARIES))


def _used_in_commands(commands: tuple[object, ...]) -> set[str]:
    """Variables that the shell itself expands (`RUN=x; python a.py --out $RUN`)."""
    return {name for command in commands for name in re.findall(r"\$\{?([A-Za-z_]\w{0,127})", getattr(command, "text", ""))}


def _builds_names(text: str) -> bool:
    """Reads such as `os.environ.get(name.upper())` or a loop over `os.environ` may read any variable."""
    dynamic = r"environ(?:\.get\(|\[)\s{0,4}(?:[\w.]{1,60}\.upper\(\)|f[\"']|[\"']\w{0,40}[\"']\s{0,2}\+)|\bin os\.environ(?:\.items\(\))?\s{0,2}:"
    return re.search(dynamic, text) is not None


def check_left_on(context: Context) -> Decision:
    """Features that README or JSON deny and that the documented command leaves switched on."""
    submission = context.submission
    denied = {topic: found for topic in (*FEATURES, "eval-adaptation") if (found := denials(submission, topic))}
    if not denied:
        return Decision.not_applicable("README and JSON deny no feature that the script could have on")
    if submission.program.main is None:
        return Decision.not_available("the folder has no script")
    if submission.program.main.opaque:
        return Decision.not_available("the packed script could not be unwrapped, so its defaults are unknown")
    named = {topic: switches(submission, topic) for topic in denied if topic in FEATURES}
    findings = [finding for topic, found in named.items() for finding in _left_on(submission, topic, found)]
    findings += _executed_as_documented(context, denied, "ttt" if findings else "")
    if findings:
        return Decision.of(findings)
    if not any(named.values()):
        return Decision.not_available(
            "the script has no switch for what is denied, and its execution shows no trace of it either"
        )
    if not documented_commands(submission):
        return Decision.not_available("the README documents no command that runs the script; by default the feature is off")
    off = ", ".join(f"{switch.name}={switch.value}" for found in named.values() for switch in found)
    rest = ", ".join(WORDS[topic] for topic, found in named.items() if not found)
    return Decision.passed(f"the documented command leaves it off: {off}" + (f" (no switch for {rest})" if rest else ""))


def _left_on(submission: Submission, topic: str, found: tuple[Switch, ...]) -> Iterator[Finding]:
    active = [switch for switch in found if switch.on]
    if not active or any(not switch.on for switch in found):
        return
    switch = active[0]
    claim = denials(submission, topic)[0]
    qualified = openly_claimed(submission, topic)
    if qualified and claim.form == "prose":
        return
    command = next(iter(documented_commands(submission)), None)
    runs = headline_runs(submission)
    logged = next((state for headline in runs if (state := logged_switch(submission, headline.run, switch))), None)
    seen = next((trace for headline in runs for trace in traces(headline.run, headline.metric, topic)), None)
    places = [claim.source, switch.source]
    if command is None:
        message = f"{WORDS[topic]} is denied and no command is documented; with its defaults the script has it on ({switch.name})"
    else:
        how = "sets" if switch.set_by_command else "does not change the default of"
        message = f"{WORDS[topic]} is denied, but run as documented the script has it on: the command {how} {switch.name} ({switch.value})"
        if not switch.set_by_command:
            places.append(command.source)
    if logged is not None and not logged[0]:
        message += "; the logged run had it off, so it was started in another way"
        places.append(logged[1])
    elif seen is None and runs:
        message += "; the logs show no trace of it, so the run was started in another way"
    used = _is_used(submission, switch)
    yield Finding(
        Outcome.FAIL if used and command is not None and not qualified and claim.form != "prose" else Outcome.REVIEW,
        message,
        tuple(dict.fromkeys(places)),
        Confidence.HIGH if used and not qualified else Confidence.MEDIUM,
        remediation=f"document {switch.name}=0, or make it the default",
    )


def _executed_as_documented(context: Context, denied: Mapping[str, Sequence[Statement]], told: str) -> Iterator[Finding]:
    """What the documented command executes, whatever its switch is called: scores that are formed with state that validation
    tokens changed. A feature that a switch already told is not told again."""
    analysis = analysis_of(context)
    if not analysis.available or analysis.doubts or documented_command(context.submission) is None:
        return
    submission = context.submission
    open_to = [topic for topic in LIVE_TOPICS if topic in denied and topic != told and not openly_claimed(submission, topic)]
    if not open_to or openly_claimed(submission, "ttt"):
        return  # nothing that the execution could show would be told
    trace = analysis.documented
    for feature in live_features(trace, trace.of("report"), logged=False):
        topic = feature.topic
        if topic not in open_to or (told and topic == "eval-adaptation" and feature.adapts.kind == "update"):
            continue
        claim = denied[topic][0]
        printed = any(
            _prints(feature.prints.text, metric.source.excerpt) for run in context.submission.runs for metric in run.metrics
        )
        message = (
            f"{WORDS[topic]} is denied, but run as documented the script updates on validation tokens and prints a score of it"
        )
        yield Finding(
            Outcome.FAIL if claim.form != "prose" and not trace.incomplete else Outcome.REVIEW,
            message + ("" if printed else "; the logs show no such score, so the run was started in another way"),
            (claim.source, *feature.places(analysis)),
            Confidence.MEDIUM,
            remediation="switch it off in the documented command, or make off the default",
        )


def _prints(text: str, line: str) -> bool:
    """Whether the first word of a report's fixed text starts the line."""
    words = text.split()
    return bool(words) and line.strip().startswith(words[0])


def _is_used(submission: Submission, switch: Switch) -> bool:
    """Whether the value goes anywhere: its target is named again somewhere in the program."""
    target = switch.read.target.rsplit(".", 1)[-1]
    if not target:
        return False
    pattern = re.compile(rf"(?<![A-Za-z0-9_]){re.escape(target)}(?![A-Za-z0-9_])")
    return sum(len(pattern.findall(script.effective[1])) for script in submission.program.members) > 1


UNREAD_VARIABLE = Rule(
    code="CLM003",
    name="command-sets-unread-variable",
    level=Level.WARNING,
    summary="the documented run command sets variables that no file of the folder reads",
    why=(
        "A variable that nothing reads changes nothing: whoever follows the command gets another configuration than the one they "
        "read about. Often the shipped script is another version than the one that ran. Variables of libraries (NCCL_*, OMP_*, ...) "
        "are not meant."
    ),
    example=(
        "violation: `DATA_PATH=./data/x torchrun train_gpt.py`, and the script only reads DATA_DIR\n"
        "legal: `DATA_DIR=./data NCCL_DEBUG=WARN torchrun train_gpt.py`"
    ),
    settles="the file that reads the variable",
    sources=(_PULL + "1471",),
    check=check_unread,
)
LEFT_ON = Rule(
    code="CLM004",
    name="command-leaves-feature-on",
    level=Level.WARNING,
    summary="run exactly as documented, the script enables a feature that the README denies",
    why=(
        "The reproduction then is not the submission: it spends eval time on, and reports a score of, something the text says is "
        "absent. The run that made the logs is judged elsewhere; this is about the promise of the command."
    ),
    example=(
        "violation: README 'No TTT'; the script reads TTT_ENABLED with default 1 and the command does not set it\n"
        "legal: the same script, and the command says TTT_ENABLED=0"
    ),
    settles="a run of the documented command, or the code that ignores the switch",
    sources=(_PULL + "1405",),
    check=check_left_on,
)

RULES = (UNREAD_VARIABLE, LEFT_ON)
