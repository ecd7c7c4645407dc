"""What the core needs from the outside: protocols and the records that cross them, a module a subject.

The drivers (`ssh`, `cache`, `storage`) implement these; only `app.py` knows which.
"""
