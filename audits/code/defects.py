"""COD: defects of the script that never disqualify."""

from __future__ import annotations

from audits.code.annotations import ANNOTATION_MISMATCH
from audits.code.dtypes import DTYPE_HAZARD
from audits.code.flags import DEAD_FLAG
from audits.code.messages import MESSAGE_CONTRADICTS_CODE
from audits.code.none_checks import NONE_DEREFERENCE

RULES = (ANNOTATION_MISMATCH, DEAD_FLAG, NONE_DEREFERENCE, MESSAGE_CONTRADICTS_CODE, DTYPE_HAZARD)
