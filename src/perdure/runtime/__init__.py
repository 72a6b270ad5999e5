"""Executes runs: what agent code sees, its effects, attempts, the worker, and maintenance."""
