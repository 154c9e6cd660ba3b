"""What is wrong with an invoice: the client's own `Fault`, which the worker uses everywhere."""

from timbrado_client.faults import Fault, Source, Whose, path_of

__all__ = ["Fault", "Source", "Whose", "path_of"]
