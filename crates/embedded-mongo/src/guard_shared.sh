# Runs a command until no process holds a shared lock on a file any more.
#
# The kernel gives up a process's lock when it ends, even with SIGKILL. The command lives on for a
# moment after the last one, because the next test binary may be about to start.
#
# $1  the file to watch
# $2  a folder to remove afterwards
# $3… the command
lock=$1 scratch=$2
shift 2
exec 9<"$lock"
"$@" </dev/null >/dev/null 9<&- &
command=$!
echo "$command"
exec >/dev/null
while :; do
    flock --exclusive 9
    flock --unlock 9
    sleep 2
    # From here until we end, whoever wants the server waits, and then finds none.
    flock --exclusive --nonblock 9 && break
done
kill -s KILL "$command"
wait "$command"
rm -rf "$scratch"
