"""Rules about claims: what README and JSON say against what logs and script show."""

from audits.claims import commands, compressor, contradictions, labels, lineage, metric, tables

RULES = (
    *metric.RULES,
    *contradictions.RULES,
    *commands.RULES,
    *compressor.RULES,
    *labels.RULES,
    *tables.RULES,
    *lineage.RULES,
)
