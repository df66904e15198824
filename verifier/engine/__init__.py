"""Running rules: registry, context, isolation, verdict."""
