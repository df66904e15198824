"""The two 600-second budgets, and the machine they were spent on."""

from audits.time.budgets import EVAL_OVER_BUDGET, TRAIN_OVER_BUDGET
from audits.time.calibration import CALIBRATION_OUTSIDE_BUDGET
from audits.time.pods import HARDWARE_NOT_RECORD, THROTTLED_SEED

RULES = (TRAIN_OVER_BUDGET, EVAL_OVER_BUDGET, CALIBRATION_OUTSIDE_BUDGET, THROTTLED_SEED, HARDWARE_NOT_RECORD)
