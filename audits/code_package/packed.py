"""PKG007: what is packed inside the script."""

from __future__ import annotations

from verifier.engine.context import Context
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule
from verifier.submission.script import Layer, ScriptFile

_SHOWN = 8
"""Layers listed one by one; a bundle of modules may have dozens."""


def _check(context: Context) -> Decision:
    program = context.submission.program
    if program.main is None:
        return Decision.not_available("the folder has no training script")
    findings: list[Finding] = []
    for member in program.members:
        findings += [_layer_finding(member, layer) for layer in member.layers[:_SHOWN]]
        if len(member.layers) > _SHOWN:
            rest = member.layers[_SHOWN:]
            message = f"{member.path}: {len(rest)} more payloads, {sum(layer.bytes for layer in rest):,} bytes"
            findings.append(Finding(Outcome.INFO, message, (rest[0].source,)))
        for reference in member.references:
            where = "" if reference.found else ", which is not in the folder"
            message = f"{member.path} runs {reference.path} ({reference.runner}){where}"
            findings.append(Finding(Outcome.INFO, message, (reference.source,)))
    opaque = [problem for member in program.members for problem in member.problems if problem.kind.startswith("layer-")]
    if opaque:
        findings += [
            Finding(Outcome.INFO, f"not unwrapped: {problem.message}", (problem.location,), confidence=Confidence.MEDIUM)
            for problem in opaque
        ]
        reason = f"the program executes code that its text does not show: {opaque[0].message}"
        return Decision.not_available(reason, *findings)
    if findings:
        return Decision.of(findings)
    return Decision.passed(f"{len(program.members)} files of the program are plain Python; nothing is unpacked")


def _layer_finding(member: ScriptFile, layer: Layer) -> Finding:
    if layer.runner == "data":
        message = f"{member.path}: {layer.bytes:,} bytes of data packed as {layer.codec} in {layer.packed_bytes:,} bytes"
    elif layer.codec == "literal":
        message = f"{member.path}: an embedded module of {layer.bytes:,} bytes, started by {layer.runner} (layer {layer.index})"
    else:
        message = (
            f"{member.path}: {layer.bytes:,} bytes of Python packed as {layer.codec} in {layer.packed_bytes:,} bytes, "
            f"started by {layer.runner} (layer {layer.index})"
        )
    return Finding(Outcome.INFO, message, (layer.source,), measured=Measured(layer.bytes, "bytes"))


PACKED_SCRIPT = Rule(
    code="PKG007",
    name="packed-script",
    level=Level.NOTE,
    at_most=Outcome.INFO,
    summary="the script is packed: lists the layers",
    why="Packing the script is accepted practice: it saves bytes of the artifact. A reviewer still has to read what runs. The verifier "
    "unpacks the layers without executing them and audits the inner text; where the text does not follow from the file, rules about "
    "the program can't be decided.",
    example='info: exec(lzma.decompress(base64.b85decode("...")))\n'
    "not-available: exec(decrypt(payload, os.environ['KEY']))\n"
    "pass: a plain script; `model.eval()`, `torch.compile(model)` and `re.compile(...)` execute no text",
    settles="a readable copy of the script that packs to the committed bytes",
    sources=("https://github.com/openai/parameter-golf/pull/1738",),
    check=_check,
)
