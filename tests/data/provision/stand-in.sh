#!/bin/sh
# What the provisioning scripts find on PATH in the tests: every program that they call and that
# could touch the machine is a link to this file. It notes the call in $LOG, keeps its little state
# as files in $STATE, and changes nothing outside $STATE and $FAKE_ROOT. Builtins where they do,
# since a process costs more than all else here.

me=${0##*/}

content() { # FILE DEFAULT: into $content, its first line
    content=$2
    [ ! -e "$STATE/$1" ] || read -r content <"$STATE/$1"
}

fail_as_told() { # WHAT CODE
    [ ! -e "$STATE/fail-$1" ] || { cat "$STATE/fail-$1" >&2; exit "$2"; }
}

any_engine() { # WORD...: installs the first of the words that is an engine
    for word in "$@"; do
        word=${word##*/}
        package=${word%%[=_]*}
        [ -d "$PACKAGES/$package" ] || package=${package%%-[0-9]*}
        [ -d "$PACKAGES/$package" ] || continue
        cp -R "$PACKAGES/$package/." "$FAKE_ROOT/"
        load_units
        return
    done
}

load_units() { # daemon-reload: what is written later counts only after the next one
    for unit in docker.service docker.socket; do
        load=not-found requires='' wants='' start='' path=''
        for folder in etc/systemd/system usr/lib/systemd/system; do
            file=$FAKE_ROOT/$folder/$unit
            if [ -L "$file" ]; then load=masked; break; fi
            [ -e "$file" ] || continue
            load=loaded path=/$folder/$unit
            for part in "$file" "$FAKE_ROOT/etc/systemd/system/$unit.d"/*.conf; do
                [ -e "$part" ] || continue
                while read -r line; do
                    case $line in
                        Requires=*) requires=${line#*=} ;;
                        Wants=*) wants=${line#*=} ;;
                        ExecStart=*) start=${line#*=} ;;
                    esac
                done <"$part"
            done
            break
        done
        printf '%s\n' "$load" "$requires" "$wants" "$start" "$path" >"$STATE/unit-$unit"
    done
}

read_unit() { # UNIT: as it was at the last daemon-reload
    [ -e "$STATE/unit-$1" ] || load_units
    {
        read -r load
        read -r requires
        read -r wants
        read -r start
        read -r path
    } <"$STATE/unit-$1"
}

show_unit() { # UNIT PROPERTIES: in systemd's order, not in that of the question
    read_unit "$1"
    case $2 in *ExecStart*)
        printf 'ExecStart={ path=%s ; argv[]=%s ; ignore_errors=no ; pid=0 }\n' \
            "${start%% *}" "$start" ;;
    esac
    case $2 in *Requires*) printf 'Requires=%s\n' "$requires" ;; esac
    case $2 in *Wants*) printf 'Wants=%s\n' "$wants" ;; esac
    case $2 in *LoadState*) printf 'LoadState=%s\n' "$load" ;; esac
    case $2 in *FragmentPath*) printf 'FragmentPath=%s\n' "$path" ;; esac
    case $2 in *ActiveState*)
        [ -s "$STATE/active" ] && echo ActiveState=active || echo ActiveState=inactive ;;
    esac
    case $2 in *MainPID*) content main-pid 0; printf 'MainPID=%s\n' "$content" ;; esac
}

start_engine() {
    read_unit docker.service
    : >"$STATE/active"
    content refuses ''
    refused=no
    if [ -n "$content" ]; then
        case $start in *"$content"*) refused=yes ;; esac
        ! grep -qs -e "$content" "$FAKE_ROOT/etc/docker/daemon.json" || refused=yes
    fi
    if [ "$refused" = yes ] || [ ! -x "$FAKE_ROOT${start%% *}" ]; then
        echo "Job for docker.service failed because the control process exited with error code." >&2
        exit 1
    fi
    printf '%s\n' "$start" >"$STATE/active"
}

systemctl() {
    verb='' unit='' properties='' quiet=no
    while [ $# -gt 0 ]; do
        case $1 in
            -p) properties="$properties $2"; shift ;;
            -q) quiet=yes ;;
            -n) shift ;;
            -*) ;;
            *) if [ -z "$verb" ]; then verb=$1; else unit=$1; fi ;;
        esac
        shift
    done
    fail_as_told "systemctl-$verb" 1
    case $verb in
        daemon-reload) load_units ;;
        show) show_unit "$unit" "$properties" ;;
        status) printf '%s\n' "x docker.service" "   Active: failed (Result: exit-code)" ;;
        is-active)
            answer=active
            [ -s "$STATE/active" ] || answer=inactive
            [ "$quiet" = yes ] || echo "$answer"
            [ "$answer" = active ] ;;
        is-enabled) [ -e "$STATE/enabled" ] ;;
        is-failed) [ -e "$STATE/failed-$unit" ] ;;
        enable) : >"$STATE/enabled" ;;
        restart | start) start_engine ;;
        stop) : >"$STATE/active" ;;
    esac
}

apt_get() {
    content apt-locked 0
    if [ "$content" -gt 0 ]; then
        echo $((content - 1)) >"$STATE/apt-locked"
        lock=/var/lib/dpkg/lock-frontend
        echo "E: Could not get lock $lock. It is held by process 123 (unattended-upgr)" >&2
        echo "E: Unable to acquire the dpkg frontend lock ($lock), is another process using it?" >&2
        exit 100
    fi
    if [ -e "$STATE/dpkg-interrupted" ]; then
        echo "E: dpkg was interrupted, you must manually run 'dpkg --configure -a'" \
            "to correct the problem." >&2
        exit 100
    fi
    while :; do
        case $1 in
            -o) shift 2 ;;
            -*) shift ;;
            *) break ;;
        esac
    done
    fail_as_told "apt-$1" 100
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
    name=$STATE/web/$(printf %s "${url#*://}" | tr / _)
    [ -e "$name" ] || {
        host=${url#*://}
        echo "curl: (6) Could not resolve host: ${host%%/*}" >&2
        exit 6
    }
    cat "$name" >"$target"
}

case $me in
    id | uname | date | sudo) ;; # these only ask
    engine) echo "installer: ${*}${https_proxy:+ https_proxy=$https_proxy}" >>"$LOG" ;;
    *) echo "$me${*:+ $*}" >>"$LOG" ;;
esac
if [ -e "$STATE/kill-at" ] && content kill-at '' && [ "$content" = "$me $*" ]; then
    kill -9 "$PPID"
    exit 1
fi
fail_as_told "$me" 1

case $me in
    id)
        case $1 in -un) content user root ;; *) content uid 0 ;; esac
        echo "$content" ;;
    uname)
        content=Linux
        [ "$1" != -n ] || content uname bare
        echo "$content" ;;
    date)
        content clock 0
        echo "$content" ;;
    sleep) # moves the clock on, and lets the test do something meanwhile
        content clock 0
        echo $((content + $1)) >"$STATE/clock"
        # shellcheck disable=SC1091
        [ ! -e "$STATE/on-sleep" ] || . "$STATE/on-sleep" ;;
    hostname | sethostname) echo "$1" >"$STATE/uname" ;;
    hostnamectl) echo "$2" >"$STATE/uname" ;;
    sudo) # -n COMMAND...
        content sudo free
        case $content,${ON_TTY-} in
            free,* | tty,yes) shift; exec "$@" ;;
            tty,*) echo "sudo: sorry, you must have a tty to run sudo" >&2; exit 1 ;;
            *) cat "$STATE/sudo" >&2; exit 1 ;;
        esac ;;
    script) # -qec COMMAND /dev/null
        words=$(ON_TTY=yes sh -c "$2" 2>&1)
        code=$?
        [ -z "$words" ] || printf '%s\n' "$words" | sed "s/\$/$(printf '\r')/"
        exit $code ;;
    systemctl) systemctl "$@" ;;
    journalctl) cat "$STATE/journal" ;;
    apt-get) apt_get "$@" ;;
    apt-cache) [ ! -e "$STATE/$1-$2" ] || cat "$STATE/$1-$2" ;; # madison PACKAGE
    dnf | yum | zypper | pacman | rpm) any_engine "$@" ;;
    dpkg)
        if [ "$1" = --configure ]; then rm -f "$STATE/dpkg-interrupted"; else any_engine "$@"; fi ;;
    curl | wget) download "$@" ;;
    engine) any_engine "$@" ;; # what an installation script calls
    *) ;;
esac
