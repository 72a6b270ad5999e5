"""The proof that workers which are killed share a provider's limits, and the money, exactly."""
