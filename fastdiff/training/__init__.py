"""The training loop, its configuration, and what resumes it."""
