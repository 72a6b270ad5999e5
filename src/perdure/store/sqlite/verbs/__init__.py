"""What the store does: plain functions over a transaction or a reading connection."""
