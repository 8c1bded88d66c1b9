"""What a run keeps and tells: its folder, checkpoints, records, and what a person sees of it."""
