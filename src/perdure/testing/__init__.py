"""What people test agents with. Each module is imported by its own name."""
