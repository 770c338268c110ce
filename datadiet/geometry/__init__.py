"""Vectors: clusters, blocked products and nearest neighbours. numpy when it is loaded, torch or faiss when it runs."""

from __future__ import annotations

from datadiet.geometry.kmeans import Clusters, assign, kmeans
from datadiet.geometry.matrix import Matrix
from datadiet.geometry.neighbours import nearest

__all__ = ["Clusters", "Matrix", "assign", "kmeans", "nearest"]
