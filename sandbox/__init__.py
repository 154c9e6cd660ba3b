"""A ContaDigital to develop, test and measure against; see README.md beside this file.

Nothing in it is the worker's. It shares only the SAT's own files with `cfdi`, so that
each side's reading of the law finds the other's mistakes.
"""
