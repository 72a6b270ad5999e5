"""Kills real processes at every named crash point and counts what happened twice, or not at all."""
