"""Who is enrolled: encrypted templates on a compacted topic, and the exact search over them in memory.

`enrolment` writes templates, `reader` follows the topic into an `index`, `templates` seals and opens one. A template is
in clear only in the memory of a process that searches.
"""
