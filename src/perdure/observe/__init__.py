"""What a deployment shows of itself."""
