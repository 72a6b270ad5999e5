"""Quota admission: pure functions over small documents that all workers share.

limits (what a provider limits), demand (a call and its answers), meter (one limit's window and
bucket), flight (calls in flight), line (who is next), state (a pool's document), admit, settle,
learn (from 429s and headers), estimate (of tokens), preflight (of whole runs).
"""
