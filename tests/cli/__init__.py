"""Tests of fastdiff.cli."""
