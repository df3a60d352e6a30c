#!/bin/sh
# Makes the journal in this folder anew, with the archives that it knows, by a real experiment: two
# guests, each a directory with a daemon of its own. Needs nlxtp and nlxtp-guest in the PATH.
#
#   nlxtp-host/tests/journals/make.sh FOLDER
set -eu

out=$(readlink -f "$1")
work=$(mktemp -d)
cd "$work"
mkdir server client content
nlxtp-guest --dir server daemon &
daemons=$!
nlxtp-guest --dir client daemon &
daemons="$daemons $!"
# shellcheck disable=SC2086 # two words
trap 'kill $daemons; rm -rf "$work"' EXIT

# A hostile script as well: its names and its status try to drive a terminal.
cat >content/auto_exec.sh <<'SCRIPT'
#!/bin/sh
sleep 1
printf 'ready \033[31m\\ gr\303\274\303\237e \377' >custom
printf %s 'a string in a file' >"$archive_dir/written.txt"
printf x >"$archive_dir/$(printf 'name\377\nx')"
ln -s written.txt "$archive_dir/link"
mkdir "$archive_dir/a"
: >"$archive_dir/a.txt"
echo 'a string on standard output'
SCRIPT
chmod 755 content/auto_exec.sh
tar --numeric-owner -C content -czf "$out/server.tar.gz" .
printf '#!/bin/sh\nexit 3\n' >content/auto_exec.sh
tar --numeric-owner -C content -czf "$out/client.tar.gz" .

export NLXTP_JOURNAL="$out/experiment.jsonl" XDG_STATE_HOME="$work/state"
rm -f "$NLXTP_JOURNAL"
nlxtp upload server "$out/server.tar.gz" --node server --guest-power on
until nlxtp status server --node server | grep -q running; do sleep 0.1; done
nlxtp upload client "$out/client.tar.gz" --node client --guest-power on
nlxtp wait client --node client --guest-power on || [ $? = 10 ]
nlxtp wait server --node server --guest-power on
nlxtp download server "$out/server-results.tar.gz" --node server --force
nlxtp download client "$out/client-results.tar.zst" --node client --force
nlxtp journal show >"$out/experiment.txt"
