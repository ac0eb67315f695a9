# shellcheck shell=bash
# Environment of every Ray process of a cluster and of its clients. Source it from the project's folder.
ulimit -n 65536 2>/dev/null || true
export PATH="$PWD/.venv/bin:$PATH"            # `python` and `ray` of the environment, in jobs too
export RAY_AUTH_MODE=token                    # no access without ~/.ray/auth_token
export RAY_AUTH_TOKEN_PATH="$HOME/.ray/auth_token"
export RAY_ENABLE_UV_RUN_RUNTIME_ENV=0        # the environment exists: workers create none
export RAY_USAGE_STATS_ENABLED=0
# A node that refuses connections is lost after 4 checks, 3 s apart. One that is silent is lost after 4 × 30 s: a server
# of NFS 4 that restarts stalls its clients for 90 s by default, and then Ray too if .venv is on NFS. The autoscaler would
# restart Ray on a stalled node, so it waits longer. See docs/cluster.md; what is set already stays.
export AUTOSCALER_HEARTBEAT_TIMEOUT_S="${AUTOSCALER_HEARTBEAT_TIMEOUT_S:-180}"
export RAY_health_check_period_ms="${RAY_health_check_period_ms:-3000}"
export RAY_health_check_timeout_ms="${RAY_health_check_timeout_ms:-30000}"
export RAY_health_check_failure_threshold="${RAY_health_check_failure_threshold:-4}"
