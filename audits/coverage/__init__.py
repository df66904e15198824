"""How much of the validation set the headline covers, and whether training could have seen it."""

from audits.coverage.overlap import TRAIN_VAL_OVERLAP
from audits.coverage.partial import PARTIAL_VALIDATION

RULES = (TRAIN_VAL_OVERLAP, PARTIAL_VALIDATION)
