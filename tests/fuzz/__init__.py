"""Fuzzing: what nobody would send, sent to a real fleet by HTTP and on the bus, and to the decoders in-process.

`make fuzz` runs all of it at full size and prints a table; `make test` runs a short form of the same code.
"""
