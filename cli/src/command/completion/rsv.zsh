#compdef rsv
# Completion of rsv for zsh: what is offered is asked of rsv itself, which answers in time or with nothing.
_rsv() {
    local known line value about
    local -a described open
    line="${(j: :)words[1,CURRENT-1]} $PREFIX"
    known="$(${(Q)words[1]/#\~/$HOME} __complete "$line" 2>/dev/null)"
    case $? in
        0) ;;
        3) _files; return ;;
        *) return 1 ;;
    esac
    while IFS=$'\t' read -r value about; do
        case $value in
            '') ;;
            *:) open+=("${value//:/\\:}${about:+:$about}") ;;
            *) described+=("${value//:/\\:}${about:+:$about}") ;;
        esac
    done <<<"$known"
    (( $#described )) && _describe rsv described
    # What ends in a colon goes on behind it.
    (( $#open )) && _describe rsv open -S ''
}
if [[ $funcstack[1] == _rsv ]]; then
    _rsv "$@"
else
    compdef _rsv rsv
fi
