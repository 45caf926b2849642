"""Recipes: each file plans a job, runs it as a stream of events, and knows no other."""
