"""A client of Facet: `Client`, and `AsyncClient` with the same methods."""

from ._async import AsyncClient
from ._errors import ApiProblem, Unreachable
from ._images import Image
from ._sync import Client
from ._types import (
    Card,
    Domain,
    DomainDetails,
    Embedding,
    Families,
    Family,
    ListedDomain,
    Prediction,
    PredictionResult,
    Uploaded,
)

__all__ = [
    "ApiProblem",
    "AsyncClient",
    "Card",
    "Client",
    "Domain",
    "DomainDetails",
    "Embedding",
    "Families",
    "Family",
    "Image",
    "ListedDomain",
    "Prediction",
    "PredictionResult",
    "Unreachable",
    "Uploaded",
]
