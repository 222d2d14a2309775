"""Stores: what holds the files of a home. A POSIX folder (posix) or an S3-compatible object store (s3), by one contract
(store). Knows files and commit records, not what is in them."""
