"""Stage 2: reinforcement learning on box overlap, in groups of completions (GRPO)."""
