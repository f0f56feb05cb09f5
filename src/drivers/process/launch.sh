#!/bin/sh
# Runs one command and outlives the control plane: it notes who runs (`launcher`, `child`: lines of
# /proc/PID/stat, so a process id that was used again is not mistaken for it) and how it ended
# (`exit`: status and time in ms). It passes no signal on: signals go to the whole process group.
#
#   launch.sh STATE_DIR [CGROUP_PROCS_FILE ...] -- COMMAND [ARG ...]
dir=$1
shift
while [ "$1" != "--" ]; do
  echo $$ >"$1" 2>/dev/null || :
  shift
done
shift
read -r stat <"/proc/$$/stat"
echo "$stat" >"$dir/launcher.new" && mv "$dir/launcher.new" "$dir/launcher"
# A handler, not "ignore": a child starts with the default again.
trap : TERM INT HUP
"$@" &
child=$!
if read -r stat 2>/dev/null <"/proc/$child/stat"; then
  echo "$stat" >"$dir/child.new" && mv "$dir/child.new" "$dir/child"
fi
while :; do
  wait "$child"
  status=$?
  kill -0 "$child" 2>/dev/null || break
done
echo "$status $(date +%s%3N)" >"$dir/exit.new" && mv "$dir/exit.new" "$dir/exit"
