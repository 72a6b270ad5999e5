"""HTTP itself, before any of Perdure's nouns: problems, limits, preferences, answers."""
