"""Seeds, means, margins."""

from audits.statistics.configurations import MIXED_CONFIGURATIONS
from audits.statistics.margin import BELOW_MARGIN
from audits.statistics.means import MEAN_MISMATCH
from audits.statistics.seeds import INSUFFICIENT_SEEDS, SEED_SELECTION
from audits.statistics.units import MARGIN_UNIT

RULES = (INSUFFICIENT_SEEDS, MEAN_MISMATCH, BELOW_MARGIN, MIXED_CONFIGURATIONS, SEED_SELECTION, MARGIN_UNIT)
