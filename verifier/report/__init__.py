"""Renderers: one per format over one report object."""
