"""The script as a file: does it compile, is everything it imports there, what is packed inside it."""

from audits.code_package import broken, packed

RULES = (broken.SCRIPT_BROKEN, packed.PACKED_SCRIPT)
