"""Settings, the batch file and the queue table: what people write, checked before anything uses it.

Knows `nonet` and nothing that runs: no task, no worker, no scheduler.
"""
