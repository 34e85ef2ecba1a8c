"""The answers as dictionaries: the names of openapi.yaml. tests/test_types.py holds them against it."""

from __future__ import annotations

from typing import Any, Literal, Optional, TypedDict


class Prediction(TypedDict):
    label: str
    index: int
    score: float


class PredictionResult(TypedDict):
    domain: str
    version: str
    predictions: list[Prediction]


class Embedding(TypedDict):
    domain: str
    version: str
    features: list[float]


class DomainBytes(TypedDict):
    pack: int
    resident: int


class FamilyInput(TypedDict):
    height: int
    width: int
    resize: int
    kernel: str
    mean: list[float]
    std: list[float]


class Card(TypedDict):
    name: Optional[str]
    description: Optional[str]
    license: Optional[str]
    created: Optional[str]
    activation: Literal["softmax", "sigmoid"]
    labels: Optional[list[str]]
    metrics: Optional[dict[str, Any]]
    input: Optional[FamilyInput]


class _VersionRecord(TypedDict):
    version: str
    bytes: int
    created: str
    family: Optional[str]
    design: str
    classes: int
    active: bool
    residency: str


class VersionRecord(_VersionRecord, total=False):
    adapter: str
    head: str
    seed: bool


class _DomainSummary(TypedDict):
    domain: str
    version: Optional[str]
    residency: str
    pinned: bool
    seed: bool
    bytes: DomainBytes
    family: Optional[str]
    design: Optional[str]
    classes: int
    updated: Optional[str]


class DomainSummary(_DomainSummary, total=False):
    failure: str


class ListedDomain(DomainSummary):
    version_count: int


class Domain(DomainSummary):
    versions: list[VersionRecord]


class DomainDetails(Domain):
    card: Optional[Card]


class _Uploaded(Domain):
    uploaded: str


class Uploaded(_Uploaded, total=False):
    projection: dict[str, Any]


class FamilySummary(TypedDict):
    name: str
    fingerprint: str
    design: str
    input: FamilyInput
    features: int
    execution: dict[str, Any]
    memory: dict[str, Any]


class Family(FamilySummary):
    slots: list[dict[str, Any]]
    parameters: dict[str, int]
    bytes: dict[str, int]
    license: str
    provenance: dict[str, Any]


class Families(TypedDict):
    families: list[FamilySummary]
    memory: dict[str, Any]
