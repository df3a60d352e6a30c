monitor() {
    mkdir exec_status && cd exec_status || return
    while :; do
        date +%s >running
        sleep 120
    done &
    ../auto_exec.sh >out 2>&1
    kill $!
    rm -f running
    : >"done"
    cd ..
}
cd "$1" || exit
while :; do
    if [ -e auto_exec.sh ] && ! [ -e exec_status ]; then
        monitor
    fi
    sleep "$2"
done
