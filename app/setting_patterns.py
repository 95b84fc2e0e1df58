"""What the texts of settings must look like, as regular expressions."""

HOST = r"^(|([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?)\Z"  # with or without a port, or empty
REALM = r"^[ -~]{1,36}\Z"  # a longer one makes the 401 too large for the shortest Allocate, media/turn/gate.py
NAME = r"^([A-Za-z0-9._-]{1,253})?\Z"
WORKERS = r"^(auto|[1-9][0-9]?)\Z"
REDIS = r"^(|(redis|rediss|unix|rediss?\+sentinel|rediss?\+cluster)://[!-~]+)\Z"
COTURN_REDIS = r"^(|redis://(:[!-~]*@)?[0-9A-Fa-f.:\[\]]+(/[0-9]+)?)\Z"  # coturn knows neither names nor TLS
REDIS_PREFIX = r"^[A-Za-z0-9._:-]{1,64}\Z"
LONG = r"^(|[!-~]{32,512})\Z"
WILDCARD = r"^(|\*\.[A-Za-z0-9.-]{1,240}(:[0-9]{1,5})?)\Z"
SLOT = r"^([0-9]{1,4})?\Z"
SLOT_HOST = r"^(|[A-Za-z0-9._-]*\{slot\}[A-Za-z0-9._-]*(:[0-9]{1,5})?)\Z"
