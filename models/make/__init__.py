"""How `models/demo-base` was made: tokenizer, corpus, pretraining, quantisation, evaluation."""
