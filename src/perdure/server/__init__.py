"""The HTTP server: native routes over the store, and the worker's in-place execution."""
