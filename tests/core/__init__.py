"""Tests of fastdiff.core."""
