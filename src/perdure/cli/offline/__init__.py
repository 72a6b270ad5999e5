"""Replaying a run without any call: its export, and what stands in for the outside."""
