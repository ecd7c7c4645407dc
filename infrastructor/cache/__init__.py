"""Redis or Valkey as a cache that can only make things faster."""

from infrastructor.cache.redis import RedisCacheManager
from infrastructor.cache.secret import load_secret

__all__ = ["RedisCacheManager", "load_secret"]
