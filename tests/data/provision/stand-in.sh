#!/bin/sh
# What the provisioning scripts find on PATH in the tests: every program that they call and that
# could touch the machine is a link to this file. It notes the call in $LOG, keeps its little state
# as files in $STATE, and changes nothing outside $STATE and $FAKE_ROOT.

me=${0##*/}
unit_folders="etc/systemd/system usr/lib/systemd/system lib/systemd/system"

case $me in
    id | uname | date | sudo) ;; # these only ask
    *) echo "$me${*:+ $*}" >>"$LOG" ;;
esac
if [ -e "$STATE/fail-$me" ]; then
    cat "$STATE/fail-$me" >&2
    exit 1
fi

install_engine() { # PACKAGE: lays out what tests/guest.py keeps for it in $STATE/packages
    cp -R "$STATE/packages/$1/." "$FAKE_ROOT/"
    load_units
}

any_engine() { # WORD...: installs the first of the words that is an engine
    for word in "$@"; do
        word=${word##*/}
        package=${word%%[=_]*}
        [ -d "$STATE/packages/$package" ] || package=${package%%-[0-9]*}
        [ -d "$STATE/packages/$package" ] || continue
        install_engine "$package"
        return
    done
}

load_units() { # daemon-reload: what is written later counts only after the next one
    rm -f "$STATE"/unit-*
    for unit in docker.service docker.socket; do
        for folder in $unit_folders; do
            file=$FAKE_ROOT/$folder/$unit
            if [ -L "$file" ]; then
                echo masked >"$STATE/unit-$unit"
            elif [ -e "$file" ]; then
                cat "$file" "$FAKE_ROOT/etc/systemd/system/$unit.d"/*.conf >"$STATE/unit-$unit" 2>/dev/null
            else
                continue
            fi
            break
        done
    done
}

setting() { # NAME UNIT: its last value
    sed -n "s/^$1=//p" "$STATE/unit-$2" | tail -n 1
}

show_units() {
    unit='' properties=''
    while [ $# -gt 0 ]; do
        case $1 in
            -p) properties="$properties $2"; shift ;;
            -*) ;;
            *) unit=$1 ;;
        esac
        shift
    done
    for property in $properties; do
        case $property in
            LoadState)
                case $(cat "$STATE/unit-$unit" 2>/dev/null) in
                    '') echo LoadState=not-found ;;
                    masked) echo LoadState=masked ;;
                    *) echo LoadState=loaded ;;
                esac ;;
            ExecStart)
                command=$(setting ExecStart "$unit")
                echo "ExecStart={ path=${command%% *} ; argv[]=$command ; ignore_errors=no ; pid=0 }" ;;
            *) echo "$property=$(setting "$property" "$unit")" ;;
        esac
    done
}

start_engine() {
    command=$(setting ExecStart docker.service)
    refused=$(cat "$STATE/refuses" 2>/dev/null || echo /nothing/at/all)
    rm -f "$STATE/active"
    if [ ! -x "$FAKE_ROOT${command%% *}" ] || {
        echo "$command"
        cat "$FAKE_ROOT/etc/docker/daemon.json" 2>/dev/null
    } | grep -q -e "$refused"; then
        echo "Job for docker.service failed because the control process exited with error code." >&2
        exit 1
    fi
    echo "$command" >"$STATE/active"
}

systemctl() {
    while :; do
        case $1 in
            --*) shift ;;
            *) break ;;
        esac
    done
    verb=$1
    shift
    for unit in "$@"; do :; done # the last word
    case $verb in
        daemon-reload) load_units ;;
        show) show_units "$@" ;;
        status) printf '%s\n' "x docker.service" "   Active: failed (Result: exit-code)" ;;
        is-active)
            [ -e "$STATE/active" ] && answer=active || answer=inactive
            [ "$1" = -q ] || echo "$answer"
            [ "$answer" = active ] ;;
        is-enabled) [ -e "$STATE/enabled" ] ;;
        is-failed) [ -e "$STATE/failed-$unit" ] ;;
        enable) : >"$STATE/enabled" ;;
        restart | start) start_engine ;;
        stop) rm -f "$STATE/active" ;;
    esac
}

apt_get() {
    left=$(cat "$STATE/apt-locked" 2>/dev/null || echo 0)
    if [ "$left" -gt 0 ]; then
        echo $((left - 1)) >"$STATE/apt-locked"
        lock=/var/lib/dpkg/lock-frontend
        echo "E: Could not get lock $lock. It is held by process 123 (unattended-upgr)" >&2
        echo "E: Unable to acquire the dpkg frontend lock ($lock), is another process using it?" >&2
        exit 100
    fi
    if [ -e "$STATE/dpkg-interrupted" ]; then
        echo "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem." >&2
        exit 100
    fi
    while :; do
        case $1 in
            -o) shift 2 ;;
            -*) shift ;;
            *) break ;;
        esac
    done
    if [ -e "$STATE/fail-apt-$1" ]; then
        cat "$STATE/fail-apt-$1" >&2
        exit 100
    fi
    [ "$1" != install ] || any_engine "$@"
}

download() {
    target='' url=''
    while [ $# -gt 0 ]; do
        case $1 in
            -o | -O) target=$2; shift ;;
            --connect-timeout | --max-time | -T) shift ;;
            -*) ;;
            *) url=$1 ;;
        esac
        shift
    done
    name=$(echo "${url#*://}" | tr / _)
    if [ ! -e "$STATE/web/$name" ]; then
        host=${url#*://}
        echo "curl: (6) Could not resolve host: ${host%%/*}" >&2
        exit 6
    fi
    cat "$STATE/web/$name" >"$target"
}

case $me in
    id)
        case $1 in
            -un) cat "$STATE/user" ;;
            *) cat "$STATE/uid" ;;
        esac ;;
    uname)
        case $1 in
            -n) cat "$STATE/uname" ;;
            *) echo Linux ;;
        esac ;;
    date) cat "$STATE/clock" ;;
    sleep) # moves the clock on, and lets the test do something meanwhile
        echo $(($(cat "$STATE/clock") + $1)) >"$STATE/clock"
        # shellcheck disable=SC1091
        [ ! -e "$STATE/on-sleep" ] || . "$STATE/on-sleep" ;;
    hostname | sethostname) echo "$1" >"$STATE/uname" ;;
    hostnamectl) echo "$2" >"$STATE/uname" ;;
    sudo)
        case $(cat "$STATE/sudo") in
            free) shift; exec "$@" ;;
            tty) [ -n "${ON_TTY-}" ] || { echo "sudo: sorry, you must have a tty to run sudo" >&2; exit 1; }
                shift
                exec "$@" ;;
            *) cat "$STATE/sudo" >&2; exit 1 ;;
        esac ;;
    script) # -qec COMMAND /dev/null
        export ON_TTY=yes
        words=$(sh -c "$2" 2>&1)
        code=$?
        [ -z "$words" ] || printf '%s\n' "$words" | sed "s/\$/$(printf '\r')/"
        exit $code ;;
    systemctl) systemctl "$@" ;;
    journalctl) cat "$STATE/journal" ;;
    apt-get) apt_get "$@" ;;
    apt-cache) cat "$STATE/$1-$2" 2>/dev/null ;; # madison PACKAGE
    dnf | yum | zypper | pacman | rpm) any_engine "$@" ;;
    dpkg)
        case $1 in
            --configure) rm -f "$STATE/dpkg-interrupted" ;;
            *) any_engine "$@" ;;
        esac ;;
    curl | wget) download "$@" ;;
    engine) any_engine "$@" ;; # what an installation script would call
    *) ;;
esac
