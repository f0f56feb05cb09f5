#!/bin/sh
# Makes a file system of its own for one command and becomes it, inside namespaces of its own. The
# command sees the machine's programs and settings read-only, its own processes, a /tmp that is gone
# with it, and what is bound into it; nothing else. Everything here runs as root on paths that only
# root can change.
#
#   sandbox.sh ROOT UID OOM_SCORE TMP HOME_DIR [ro|rw SOURCE TARGET]... -- COMMAND [ARG ...]
#
# ROOT: an empty folder to mount on. TMP: bytes of memory for /tmp, or a folder to bind there.
# HOME_DIR: the installation's own folder, hidden where a shared folder holds it.
root=$1 uid=$2 oom=$3 tmp=$4 home=$5
shift 5
fail() {
  echo "holdfast: the sandbox could not be made: $1" >&2
  exit 126
}
echo "$oom" 2>/dev/null >/proc/self/oom_score_adj || :
mount -t tmpfs -o size=1m,mode=755,nosuid,nodev sandbox "$root" && cd "$root" || fail "its root"
mkdir -p app etc proc sys dev tmp run/holdfast usr var/lib/php || fail "its folders"
for shared in usr etc opt; do
  [ -d "/$shared" ] || continue
  mkdir -p "$shared" && mount -o rbind,ro "/$shared" "$shared" || fail "/$shared"
done
for linked in bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$linked" ]; then cp -P "/$linked" "$linked" || fail "/$linked"
  elif [ -d "/$linked" ]; then mkdir "$linked" && mount -o rbind,ro "/$linked" "$linked" || fail "/$linked"
  fi
done
case $home in
/usr/* | /opt/* | /etc/*) mount -t tmpfs -o size=4k,mode=700,ro hidden ".$home" || fail "hiding $home" ;;
esac
# Programs ask who they are, and some end where there is no answer.
{ cat /etc/passwd && echo "app:x:$uid:$uid:app:/tmp:/bin/sh"; } >run/passwd &&
  mount -o bind,ro run/passwd etc/passwd || fail "/etc/passwd"
# Where names are looked up is often a link into /run.
resolver=$(readlink -f /etc/resolv.conf)
case $resolver in
/run/*/*) mkdir -p ".${resolver%/*}" && mount -o bind,ro "${resolver%/*}" ".${resolver%/*}" || fail "$resolver" ;;
# Not all of /run for one file in it.
/run/*) : >".$resolver" && mount -o bind,ro "$resolver" ".$resolver" || fail "$resolver" ;;
esac
mount -t proc -o nosuid,nodev,noexec,hidepid=2 proc proc || fail "/proc"
mount -o bind,ro /sys sys || fail "/sys"
# Runtimes size themselves by the limits that they read here. Without it they see the machine's.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  mount -t cgroup2 -o ro,nosuid,nodev,noexec cgroup sys/fs/cgroup 2>/dev/null
elif mount -t tmpfs -o size=64k,mode=755 cgroup sys/fs/cgroup 2>/dev/null; then
  while IFS=: read -r _ controllers _; do
    case $controllers in
    *memory* | cpu | *cpu,* | *,cpu)
      mkdir "sys/fs/cgroup/$controllers" &&
        mount -t cgroup -o "ro,nosuid,nodev,noexec,$controllers" cgroup "sys/fs/cgroup/$controllers"
      case $controllers in *,*) for one in $(echo "$controllers" | tr , ' '); do ln -s "$controllers" "sys/fs/cgroup/$one"; done ;; esac
      ;;
    esac
  done </proc/self/cgroup 2>/dev/null
  mount -o remount,ro sys/fs/cgroup 2>/dev/null
fi
mount -t tmpfs -o size=64k,mode=755,nosuid,noexec devices dev &&
  cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty dev/ || fail "/dev"
ln -s /proc/self/fd dev/fd && ln -s fd/0 dev/stdin && ln -s fd/1 dev/stdout && ln -s fd/2 dev/stderr
# One room for everything that is not to stay: each of these can be written by anybody elsewhere.
case $tmp in
/*) mount -o bind,nosuid,nodev "$tmp" tmp || fail "/tmp" ;;
*) mount -t tmpfs -o "size=$tmp,mode=1777,nosuid,nodev" tmp tmp || fail "/tmp" ;;
esac
ln -s /tmp dev/shm && ln -s ../tmp var/tmp && ln -s ../run var/run && ln -s ../tmp run/lock &&
  ln -s /tmp var/lib/php/sessions || fail "links to /tmp"
while [ "$1" != "--" ]; do
  mkdir -p ".$3" || fail "$3"
  if [ "$1" = ro ]; then mount -o bind,ro,nosuid,nodev "$2" ".$3" || fail "$3"
  else mount -o bind,nosuid,nodev "$2" ".$3" || fail "$3"
  fi
  shift 3
done
shift
mount -o remount,ro "$root" && mount -o remount,ro dev || fail "sealing it"
# In a changed root the kernel gives nobody a user namespace, and with it no rights to attack it by.
exec chroot "$root" "$@"
