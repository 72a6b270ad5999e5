"""Databases as released versions left them: see ``freeze.py`` and ``test_frozen.py``."""
