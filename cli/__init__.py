"""The `nonet` command: one module a command family, each thin over scheduler, workers and nonet."""
