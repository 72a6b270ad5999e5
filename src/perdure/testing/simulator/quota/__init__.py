"""What a simulated provider measures: rate limits as real ones enforce them, and its own books."""
