#!/bin/sh
# Checks that what the documents name is there: files that links lead to, make targets, and the
# headings that links with a fragment lead to. Lists what is not, and fails then.
set -eu

cd "$(dirname "$0")/.."
documents=$(git ls-files --cached --others --exclude-standard '*.md')
failures=$(
    for document in $documents; do
        directory=$(dirname "$document")
        # One link a line; those to other sites are not looked at.
        sed 's/](/\n](/g' "$document" | sed -n 's/^](\([^) ]*\)).*/\1/p' | while read -r link; do
            case $link in http:* | https:* | mailto:*) continue ;; esac
            file=${link%%#*}
            if [ -n "$file" ] && [ ! -e "$directory/$file" ]; then
                echo "$document: there is no $file"
            fi
            case $link in *'#'*) ;; *) continue ;; esac
            place=$document
            [ -z "$file" ] || place=$directory/$file
            # A heading's fragment: lower case, punctuation gone, hyphens for spaces.
            if ! sed -n 's/^##* //p' "$place" | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9_\n-' | grep -qx -- "${link##*#}"; then
                echo "$document: $place has no heading #${link##*#}"
            fi
        done
        # shellcheck disable=SC2016 # the backquotes are Markdown's
        grep -o '`make [a-z0-9]*`' "$document" | tr -d '`' | while read -r _ goal; do
            grep -q "^$goal:" Makefile || echo "$document: the Makefile has no goal $goal"
        done
    done
)
[ -z "$failures" ] || { printf '%s\n' "$failures" >&2; exit 1; }
