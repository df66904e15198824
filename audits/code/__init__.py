"""What the script is and does beyond the score: network access and defects."""

from audits.code import defects, network

RULES = (*network.RULES, *defects.RULES)
