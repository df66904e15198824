"""Historical behaviours of the submitted systems, by their number in the register. All are off by default."""

from __future__ import annotations

QUIRKS: dict[int, str] = {
    1: "sliding windows score the last targets of the stream again and again",
    2: "SDClip steps never fall below 1/R",
    3: "int8 values are rounded with a scale that is not the stored one",
    4: "percentile and quantile steps never fall below 1/R",
    5: "the Hessian is damped twice and unused inputs go undetected",
    6: "each process clips its own gradient before the processes average theirs",
    7: "weight snapshots (SWA) are collected and never used",
    8: "the late-QAT switch is flipped and changes nothing",
    9: "bigram and value-embedding projections start orthogonal instead of zero",
    10: "skip weights that nothing reads",
    11: "RoPE is scaled for a reference length of 1024 at every longer length",
    12: "calibration reads the windows of the first training batches again",
    13: "the order of the training data does not depend on the seed",
    14: "SmearGate and BigramHash look across document boundaries",
    15: "control tensors are stored as fp16",
    16: "freezing by name misses the layers that are stored in banks",
    17: "the adapted model is what later evaluators see",
    18: "the GPTQ percentile is chosen by the plain squared error",
    19: "a byte table known to be wrong is accepted",
    20: "without a sidecar, bytes are silently taken from the tokenizer's table",
    21: "training on validation data averages weights once an epoch, with separate Adam states",
    22: "the learning rate follows the measured wall time, so no run repeats another",
}
