"""The people of a demo: portraits in a folder, and who of them is a payer, who a stranger."""
