"""Decisions without effects: no thread, pipe, clock or import from the rest of the house."""
