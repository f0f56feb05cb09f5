#!/bin/sh
# Runs one command and outlives the control plane: it notes who runs (`launcher`, `child`: lines of
# /proc/PID/stat, so a process id that was used again is not mistaken for it) and how it ended
# (`exit`: status and time in ms). The command leads a process group of its own; what is left of that
# group, or of the control groups, ends with it.
#
#   launch.sh STATE_DIR [CGROUP_PROCS_FILE ...] -- COMMAND [ARG ...]
dir=$1
shift
groups=
while [ "$1" != "--" ]; do
  echo $$ >"$1" 2>/dev/null && groups="$groups $1"
  shift
done
shift
read -r stat <"/proc/$$/stat"
echo "$stat" >"$dir/launcher.new" && mv "$dir/launcher.new" "$dir/launcher"
# How often the kernel ended something of the control groups for its memory.
kills() {
  for procs in $groups; do
    cat "${procs%/*}/memory.oom_control" "${procs%/*}/memory.events" 2>/dev/null
  done | sed -n 's/^oom_kill //p' | head -n 1
}
# ` (limit 256 MB)`, or nothing where there is none.
limit() {
  for procs in $groups; do
    cat "${procs%/*}/memory.limit_in_bytes" "${procs%/*}/memory.max" 2>/dev/null
  done | sed -n 's/^\([0-9]\{7,15\}\)$/\1/p' | while read -r bytes; do
    echo " (limit $((bytes / 1048576)) MB)"
    break
  done
}
before=$(kills)
# A handler, not "ignore": a child starts with the default again.
trap : TERM INT HUP
# A shell gives what it starts beside itself no input of its own, unless by another number.
exec 3<&0
setsid "$@" <&3 3<&- &
child=$!
exec 0</dev/null 3<&-
if read -r stat 2>/dev/null <"/proc/$child/stat"; then
  echo "$stat" >"$dir/child.new" && mv "$dir/child.new" "$dir/child"
fi
while :; do
  wait "$child"
  status=$?
  kill -0 "$child" 2>/dev/null || break
done
kill -KILL "-$child" 2>/dev/null
for procs in $groups; do
  rounds=0
  others=yes
  while [ -n "$others" ] && [ "$rounds" -lt 20 ]; do
    others=
    while read -r pid; do
      [ "$pid" = "$$" ] || { kill -KILL "$pid" 2>/dev/null && others=yes; }
    done <"$procs"
    rounds=$((rounds + 1))
  done
done
# What it wrote last is a line too, also where it did not end it.
[ -z "$(tail -c 1 "/proc/$$/fd/1" 2>/dev/null)" ] || echo
[ "$(kills)" = "$before" ] ||
  echo "holdfast: the kernel ended a process of this instance: out of memory$(limit)"
echo "$status $(date +%s%3N)" >"$dir/exit.new" && mv "$dir/exit.new" "$dir/exit"
