"""Use of validation data, and what the reported number is an average of."""

from audits.validation import code_length
from audits.validation.calibration import CALIBRATED_ON_VALIDATION
from audits.validation.causality import NON_CAUSAL
from audits.validation.documents import CROSS_DOCUMENT
from audits.validation.stored import PAID_PREFIX
from audits.validation.training import TRAIN_ON_VALIDATION
from audits.validation.tuning import TUNED_ON_VALIDATION

RULES = (
    TRAIN_ON_VALIDATION,
    PAID_PREFIX,
    CALIBRATED_ON_VALIDATION,
    TUNED_ON_VALIDATION,
    *code_length.RULES,
    CROSS_DOCUMENT,
    NON_CAUSAL,
)
