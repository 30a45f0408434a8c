"""The report of a demo: one HTML file that needs nothing else."""
