"""Tests of fastdiff.methods."""
