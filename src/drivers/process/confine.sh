#!/bin/sh
# Gives the command a /tmp of its own and a name for its user id. Inside a mount namespace of its own.
#
#   confine.sh STATE_ROOT PRIVATE_TMP UID COMMAND [ARG ...]
root=$1
tmp=$2
uid=$3
shift 3
# Programs ask who they are, and some end where there is no answer.
passwd=${tmp%/*}/passwd
{ cat /etc/passwd && echo "app:x:$uid:$uid:app:/tmp:/bin/sh"; } >"$passwd" &&
  mount --bind "$passwd" /etc/passwd || exit 126
# An installation below /tmp would vanish with it: it is bound into the private one.
case $root in
/tmp/*)
  inside=$tmp/${root#/tmp/}
  mkdir -p "$inside" && mount --bind "$root" "$inside" || exit 126
  ;;
esac
mount --rbind "$tmp" /tmp || exit 126
exec "$@"
