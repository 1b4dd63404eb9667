"""What an export writes for other programs: networks, schedulers, pipelines, scripts and cards."""
