"""What travels between the parts: events, their encoding, and the topics that carry them.

Pure: nothing here does I/O beyond reading the packaged topic files, reads a clock, or draws a random number.
"""
