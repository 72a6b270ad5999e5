"""What people see: tables, trees, progress. rich is used only where a terminal is attached."""
