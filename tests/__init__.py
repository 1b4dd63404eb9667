"""Tests of fastdiff, in the wings of the package."""
