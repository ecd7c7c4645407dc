"""All operations on the proxies of a SWAG."""

from collections.abc import Mapping
from typing import Any

from infrastructor.completion import Source, listed
from infrastructor.domains.proxies.changing import CHANGING
from infrastructor.domains.proxies.drafting import proxy_config_generate
from infrastructor.domains.proxies.looking import READING, proxy_config_list
from infrastructor.operation import Operation

OPERATIONS: tuple[Operation[Any, Any], ...] = (*READING, proxy_config_generate, *CHANGING)

COMPLETIONS: Mapping[str, Source] = {
    "proxy": listed(proxy_config_list, lambda result: [one.service for one in result.configs])
}
