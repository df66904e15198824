"""What the script is and does beyond the score: network access, payload outside the count, defects."""

from audits.code import defects, promises, reach

RULES = (*reach.RULES, *promises.RULES, *defects.RULES)
