# shellcheck shell=bash
# What every Ray process of a cluster is started with, and whoever talks to one: sourced from the project's folder.
ulimit -n 65536 2>/dev/null || true
export PATH="$PWD/.venv/bin:$PATH"            # `python` and `ray` are the environment's own, in jobs too
export RAY_AUTH_MODE=token                    # nobody gets in without ~/.ray/auth_token
export RAY_AUTH_TOKEN_PATH="$HOME/.ray/auth_token"
export RAY_ENABLE_UV_RUN_RUNTIME_ENV=0        # the environment is there: no worker makes its own
export RAY_USAGE_STATS_ENABLED=0
# A node that does not answer is given up after some seconds, not the minute that is Ray's default.
export AUTOSCALER_HEARTBEAT_TIMEOUT_S=10
export RAY_health_check_initial_delay_ms=2000
export RAY_health_check_period_ms=1000
export RAY_health_check_timeout_ms=2000
export RAY_health_check_failure_threshold=3
