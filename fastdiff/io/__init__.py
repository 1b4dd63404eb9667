"""Models on disk: loading, export, fingerprints and the hub."""
