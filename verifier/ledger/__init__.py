"""Views over a submission's facts that rules and reports share: claims, seeds, timeline, sizes, statistics."""
