"""``perdure gateway``: the model gateway as an HTTP proxy, for subprocesses and other languages."""
