"""Capture under aiohttp, once somebody imports it: the model calls of ``ClientSession``."""
