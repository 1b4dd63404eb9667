"""Tests of fastdiff.data."""
