#!/bin/sh
# Runs one of our own processes, and again when it ends, until the stop file is there.
#
#   keep-running.sh STOP_FILE COMMAND [ARG ...]
stop=$1
shift
# A signal to the group is for the command: the loop ends when that has, in good order.
trap : TERM INT HUP
wait_s=1
while [ ! -e "$stop" ]; do
  began=$(date +%s)
  "$@"
  # Ended by what it ran into (ILL, TRAP, ABRT, BUS, SEGV): compiled code that was kept may be why, and
  # can always be made again.
  case $? in 132 | 133 | 134 | 135 | 139) [ -z "$NODE_COMPILE_CACHE" ] || rm -rf "$NODE_COMPILE_CACHE" ;; esac
  [ -e "$stop" ] && break
  # One that got past its start begins again at once; one that keeps failing at it ever later.
  if [ $(($(date +%s) - began)) -ge 2 ]; then wait_s=1; else wait_s=$((wait_s * 2)); fi
  [ "$wait_s" -gt 30 ] && wait_s=30
  sleep "$((wait_s / 2))"
done
