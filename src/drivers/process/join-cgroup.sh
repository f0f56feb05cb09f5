#!/bin/sh
# Joins control groups, then becomes the command.   join-cgroup.sh [PROCS_FILE ...] -- COMMAND [ARG ...]
while [ "$1" != "--" ]; do
  echo $$ >"$1" 2>/dev/null || :
  shift
done
shift
exec "$@"
