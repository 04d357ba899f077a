"""Preference tuning: of two answers to the same request, make the better one more likely than the worse."""
