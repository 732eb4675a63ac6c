# Runs a command and ends it when its owner is gone, however the owner went.
#
# The owner holds the other end of our standard input: when it is killed, even with SIGKILL, the
# kernel closes that end and the read below returns.
#
# $1  the signal that ends the command
# $2  a folder to remove when the owner is gone, or nothing
# $3… the command
signal=$1 scratch=$2
shift 2
exec 3<&0
"$@" </dev/null >/dev/null 3<&- &
command=$!
echo "$command"
exec >/dev/null
{
    read -r _
    [ -z "$scratch" ] || : >"$scratch/ownerless"
    kill -s "$signal" "$command"
    kill -s CONT "$command"
} <&3 &
watcher=$!
wait "$command"
status=$?
kill "$watcher"
[ -e "$scratch/ownerless" ] && rm -rf "$scratch"
exit "$status"
