# Opens a listening Unix socket and becomes a command that has it as file descriptor 3, and keeps it for
# what that starts again and again: who connects meanwhile waits, and what it sends is read later.
# HAProxy would try to connect without a pause otherwise, at half a core, for as long as nobody listens.
#
#   hold-socket.pl PATH OWNER_UID COMMAND [ARG ...]
use strict;
use warnings;
use POSIX ();
use Socket;

my ($path, $owner, @command) = @ARGV;
$^F = 255;    # What is opened stays open for the command.
unlink $path;
my $mask = umask 0177;
socket(my $socket, PF_UNIX, SOCK_STREAM, 0) or die "socket: $!\n";
bind($socket, pack_sockaddr_un($path)) or die "bind $path: $!\n";
chown($owner, 0, $path) if $owner >= 0;
listen($socket, 128) or die "listen $path: $!\n";
umask $mask;
POSIX::dup2(fileno($socket), 3) if fileno($socket) != 3;
exec { $command[0] } @command or die "exec $command[0]: $!\n";
