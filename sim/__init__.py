"""MiniCloud's simulator: its production code on virtual clocks, through faults, under an oracle's eyes."""
