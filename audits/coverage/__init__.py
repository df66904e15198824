"""How much of the validation set the headline covers, and whether training could have seen it."""

from audits.coverage.overlap import TRAIN_VAL_OVERLAP
from audits.coverage.partial import PARTIAL_VALIDATION
from audits.coverage.windows import SCORED_TWICE, TAIL_DROPPED

RULES = (TRAIN_VAL_OVERLAP, PARTIAL_VALIDATION, TAIL_DROPPED, SCORED_TWICE)
