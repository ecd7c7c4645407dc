"""All operations on the history of configuration, by what they are about."""

from typing import Any

from infrastructor.domains.configs.baselines import (
    config_baseline_list,
    config_baseline_remove,
    config_baseline_set,
    config_drift,
)
from infrastructor.domains.configs.comparing import config_diff, config_search
from infrastructor.domains.configs.explaining import change_explain, change_list
from infrastructor.domains.configs.looking import config_file_list, config_get, config_history
from infrastructor.domains.configs.restoring import config_restore
from infrastructor.domains.configs.watching import (
    config_watch_add,
    config_watch_discover,
    config_watch_list,
    config_watch_remove,
)
from infrastructor.operation import Operation

OPERATIONS: tuple[Operation[Any, Any], ...] = (
    config_watch_list,
    config_watch_add,
    config_watch_remove,
    config_watch_discover,
    config_file_list,
    config_get,
    config_history,
    config_diff,
    config_search,
    config_restore,
    config_baseline_set,
    config_baseline_remove,
    config_baseline_list,
    config_drift,
    change_list,
    change_explain,
)
