"""Clusters, blocked products and nearest neighbours of vectors. Loading it needs numpy; torch or faiss loads on use."""

from __future__ import annotations

from datadiet.geometry.kmeans import Clusters, assign, kmeans
from datadiet.geometry.matrix import Matrix
from datadiet.geometry.neighbours import nearest

__all__ = ["Clusters", "Matrix", "assign", "kmeans", "nearest"]
