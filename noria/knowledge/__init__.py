"""What an agent may look up: documents in, ranked passages with their source out.

Full text now; embeddings and reranking will stand behind the same `search`.
"""

from noria.data.parse import Document, parse
from noria.knowledge.base import AddReport, CheckReport, KnowledgeBase
from noria.knowledge.chunk import Chunk, chunks

__all__ = ["AddReport", "CheckReport", "Chunk", "Document", "KnowledgeBase", "chunks", "parse"]
