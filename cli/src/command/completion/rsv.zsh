#compdef rsv
# Completion of rsv for zsh: what is offered is asked of rsv itself, which answers in time or with nothing.
_rsv() {
    local known line value about
    local -a described
    line="${(j: :)words[1,CURRENT-1]} $PREFIX"
    known="$(${(Q)words[1]/#\~/$HOME} __complete "$line" 2>/dev/null)"
    case $? in
        0) ;;
        3) _files; return ;;
        *) return 1 ;;
    esac
    while IFS=$'\t' read -r value about; do
        [[ -n $value ]] && described+=("${value//:/\\:}${about:+:$about}")
    done <<<"$known"
    (( $#described )) && _describe rsv described
}
if [[ $funcstack[1] == _rsv ]]; then
    _rsv "$@"
else
    compdef _rsv rsv
fi
