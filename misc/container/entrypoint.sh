#!/bin/sh
# What containers start with. numba reads what it has compiled only where it may write as well: with a read-only root
# that is a copy in /tmp. Without it the first seconds of every start would go to compiling again.
if [ ! -w "$NUMBA_CACHE_DIR" ] && cp -R "$NUMBA_CACHE_DIR" /tmp/visage-compiled 2>/dev/null; then
    NUMBA_CACHE_DIR=/tmp/visage-compiled
    export NUMBA_CACHE_DIR
fi
exec visage "$@"
