"""Journals made with the oldest supported versions replay on the newest."""
