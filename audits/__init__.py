"""The rules, grouped by subject."""

from audits import (
    adaptation,
    bytes,
    claims,
    code,
    code_package,
    coverage,
    denominator,
    mixtures,
    package,
    size,
    statistics,
    time,
    validation,
)

RULES = (
    *adaptation.RULES,
    *mixtures.RULES,
    *validation.RULES,
    *coverage.RULES,
    *time.RULES,
    *size.RULES,
    *statistics.RULES,
    *bytes.RULES,
    *denominator.RULES,
    *claims.RULES,
    *package.RULES,
    *code_package.RULES,
    *code.RULES,
)
