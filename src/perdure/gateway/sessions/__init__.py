"""Capture under aiohttp: ``aiohttp.ClientSession``, once somebody imports it.

Only :mod:`perdure.gateway.sessions.guard` may be imported without aiohttp; the rest stands on it.
"""
