#!/bin/sh
# Gives the command a /tmp of its own, then drops to an unprivileged user for good.
#
#   confine.sh PRIVATE_TMP UID -- COMMAND [ARG ...]   (inside a mount namespace of its own)
tmp=$1
uid=$2
shift 3
mount --bind "$tmp" /tmp || exit 126
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all -- "$@"
