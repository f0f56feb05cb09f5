#!/bin/sh
# The last step of a start, with the rights of the app already: its variables get their names. Until
# here they were only carried, so that nothing an app sets can change what runs with our rights.
#
#   become.sh COMMAND [ARG ...]
for _holdfast in $HOLDFAST_CARRIED; do
  eval "export $_holdfast=\"\$HOLDFAST_CARRIED_$_holdfast\""
  unset "HOLDFAST_CARRIED_$_holdfast"
done
unset HOLDFAST_CARRIED _holdfast
exec "$@"
