"""Schedules, predictions, denoisers and guidance; errors, validation, files and seeds: what all wings share."""
