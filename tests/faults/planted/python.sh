#!/bin/sh
# Stands where the server looks for Python: python.sh -B stub_main.py <socket> <model> <server>.
switches="$FAULT_SWITCHES/$4"
if mv "$switches/spawn" "$switches/taken" 2>/dev/null; then
    fault=$(cat "$switches/taken")
    echo $$ >"$switches/taken"
    mv "$switches/taken" "$switches/happened"
    case "$fault" in
        SIGKILL) kill -KILL $$ ;;
        SIGSEGV) kill -SEGV $$ ;;
        SIGSTOP) kill -STOP $$ ;;
        exit) exit 7 ;;
        hang) sleep 86400 ;;
        garbage) printf rubbish >&3 && sleep 86400 ;;
        ENOMEM) ulimit -v 4096 ;;
        EMFILE) ulimit -n 3 ;;
    esac
fi
exec "$FAULT_PYTHON" "$@"
