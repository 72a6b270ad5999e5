"""A run over time: its log read as attempts, waits and nested effects, and drawn as bars."""
