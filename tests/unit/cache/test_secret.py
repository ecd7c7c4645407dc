from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infrastructor.cache import load_secret


def test_many_first_starts_agree_on_one_private_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_secret(tmp_path), range(32)))
    assert len(keys) == 1
    assert len(keys.pop()) == 32
    (file,) = (tmp_path / "secrets").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def test_a_key_cut_short_is_made_anew(tmp_path: Path) -> None:
    load_secret(tmp_path)
    (tmp_path / "secrets" / "cache.key").write_bytes(b"short")
    assert len(load_secret(tmp_path)) == 32
