"""Tests of fastdiff.networks."""
