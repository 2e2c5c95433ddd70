"""Stage 1: supervised fine-tuning, on answers alone or on reasoning and answers."""
