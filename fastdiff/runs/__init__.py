"""Recipes, and the runs that train, benchmark and report what they say."""
