"""What Nonet knows: records, mixes, prompts, training, engines and votes.

This layer knows no Celery and no Redis, and needs nothing beyond the standard library until a function is
called that trains or answers: torch, transformers, peft, gptqmodel and vllm are imported inside such
functions.
"""

__version__ = "0.1.0"
