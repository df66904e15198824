"""VAL: validation tokens in training, in the artifact, in calibration, in tuning."""

from __future__ import annotations

from audits.unexamined import needs_program_analysis
from verifier.rule import Level, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"
_README = "https://github.com/openai/parameter-golf#readme"

TRAIN_ON_VALIDATION = Rule(
    code="VAL001",
    name="train-on-validation",
    level=Level.ERROR,
    summary="validation tokens reach a training step whose result is used",
    why="The validation set is the exam. Weights fitted to it score what they remember.",
    example="violation: train_files = glob('fineweb_*_*.bin')      # also matches fineweb_val_*\n"
    "legal: train_files = glob('fineweb_train_*.bin'); a compile warm-up on a throw-away copy of the weights",
    settles="the resolved training glob, and which loader feeds each optimizer step",
    sources=(_README, _PULL + "44", _PULL + "64", _PULL + "179"),
    check=needs_program_analysis,
)
PAID_PREFIX = Rule(
    code="VAL002",
    name="paid-prefix",
    level=Level.ERROR,
    summary="validation text or tokens, or a table derived from them, are stored in the artifact or the code",
    why="Stored answers are free bits: the artifact is paid in bytes, but the score counts those tokens as predicted.",
    example="violation: PREFIX = lzma.decompress(b85decode(...)) holds the first 40,000 validation tokens\n"
    "legal: a static vocabulary or bigram table counted over training shards only",
    settles="where the embedded table was computed from",
    sources=(_README, _PULL + "168", _PULL + "262"),
    check=needs_program_analysis,
)
CALIBRATED_ON_VALIDATION = Rule(
    code="VAL004",
    name="calibrated-on-validation",
    level=Level.ERROR,
    summary="quantization or any calibration uses validation tokens that are not yet scored",
    why="Hessians and clip ranges fitted to the exam text move the weights towards it before it is scored.",
    example="violation: hessians = collect(model, val_loader)\nlegal: hessians = collect(model, train_loader) inside the training "
    "budget, or text sampled from the model itself",
    settles="which loader feeds the calibration pass",
    sources=(_PULL + "728",),
    check=needs_program_analysis,
)
TUNED_ON_VALIDATION = Rule(
    code="VAL005",
    name="tuned-on-validation",
    level=Level.ERROR,
    summary="an eval-time mixer, gate, order or temperature was fitted or swept on validation outcomes and shipped",
    why="Choosing eval-time constants by their validation score is training on the exam with few parameters. Ordinary training "
    "hyperparameters are exempt.",
    example="violation: for t in (0.9, 0.95, 1.0): best = min(best, eval(val, t)) and the best t is reported\n"
    "legal: the temperature was chosen on held-out training documents",
    settles="which data the sweep saw",
    sources=(_PULL + "1991", _PULL + "2098"),
    check=needs_program_analysis,
)

RULES = (TRAIN_ON_VALIDATION, PAID_PREFIX, CALIBRATED_ON_VALIDATION, TUNED_ON_VALIDATION)
