#!/bin/sh
# Gives the command a /tmp of its own, then drops to an unprivileged user for good.
#
#   confine.sh STATE_ROOT PRIVATE_TMP UID -- COMMAND [ARG ...]   (inside a mount namespace of its own)
root=$1
tmp=$2
uid=$3
shift 4
# An installation below /tmp would vanish with it: it is bound into the private one.
case $root in
/tmp/*)
  inside=$tmp/${root#/tmp/}
  mkdir -p "$inside" && mount --bind "$root" "$inside" || exit 126
  ;;
esac
mount --rbind "$tmp" /tmp || exit 126
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all -- "$@"
