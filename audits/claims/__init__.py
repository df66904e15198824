"""Rules about claims: what README and JSON say against what logs and script show."""

from audits.claims import commands, compressor, contradictions, eligible, labels, lineage, metric, tables, techniques

RULES = (
    *metric.RULES,
    *contradictions.RULES,
    *commands.RULES,
    *compressor.RULES,
    *labels.RULES,
    *tables.RULES,
    *eligible.RULES,
    *lineage.RULES,
    *techniques.RULES,
)
