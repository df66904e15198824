"""COD: defects of the script that never disqualify."""

from __future__ import annotations

from audits.unexamined import needs_program_analysis
from verifier.rule import Level, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"

RULES = (
    Rule(
        code="COD001",
        name="annotation-mismatch",
        level=Level.NOTE,
        summary="a function's return annotation contradicts what it returns",
        why="Readers and tools trust annotations.",
        example="violation: def pack(...) -> bytes: return blob, meta\nlegal: def pack(...) -> tuple[bytes, dict]: return blob, meta",
        settles="the return statements of the function",
        sources=(_PULL + "1471",),
        check=needs_program_analysis,
    ),
    Rule(
        code="COD002",
        name="dead-flag",
        level=Level.NOTE,
        summary="a flag or import guard is set and never used",
        why="A dead flag suggests a feature that is not there.",
        example="violation: HAS_FA3 = True and no reader\nlegal: attention = fa3 if HAS_FA3 else sdpa",
        settles="the readers of the name",
        sources=(_PULL + "1471",),
        check=needs_program_analysis,
    ),
    Rule(
        code="COD003",
        name="none-dereference",
        level=Level.WARNING,
        summary="a value checked for None is dereferenced right after without a guard",
        why="The script crashes in exactly the case that it checks for.",
        example="violation: if m is None: log('no model')\n           m.eval()\nlegal: if m is None: return",
        settles="whether the None branch leaves the function",
        sources=(_PULL + "1471",),
        check=needs_program_analysis,
    ),
    Rule(
        code="COD004",
        name="message-contradicts-code",
        level=Level.NOTE,
        summary="a log message or docstring names another method than the code uses",
        why="Logs are evidence; a wrong name in them misleads the reviewer.",
        example="violation: print('clip-search ...') on a path that clips at k standard deviations\nlegal: print('sdclip ...')",
        settles="the code on the path of the message",
        sources=(_PULL + "1471",),
        check=needs_program_analysis,
    ),
    Rule(
        code="COD005",
        name="dtype-hazard",
        level=Level.WARNING,
        summary="tensors can reach FlashAttention in fp32",
        why="FlashAttention takes fp16 and bf16 only; outside autocast the call fails or falls back silently.",
        example="violation: flash_attn_func(q.float(), k, v)\nlegal: flash_attn_func(q.bfloat16(), k, v)",
        settles="the dtypes at the call under the autocast in force",
        sources=(_PULL + "1738",),
        check=needs_program_analysis,
    ),
)
