# Completion of rsv for bash: what is offered is asked of rsv itself, which answers in time or with nothing.
_rsv() {
    local line=${COMP_LINE:0:COMP_POINT} typed=$2 lead offers offer known
    known=$("${1/#\~/$HOME}" __complete "$line" 2>/dev/null)
    case $? in
        0) ;;
        3) compopt -o default 2>/dev/null; return ;;
        *) return ;;
    esac
    # Readline breaks words at `:` and `=` too, and wants what comes behind.
    lead=${line##*[[:space:]]}
    lead=${lead#[\'\"]}
    lead=${lead%"${typed#[\'\"]}"}
    while IFS=$'\t' read -r offer _; do
        [[ -n $offer ]] && COMPREPLY+=("${offer#"$lead"}")
    done <<<"$known"
    # What ends in a colon goes on behind it.
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *: ]] && compopt -o nospace 2>/dev/null
}
complete -o nosort -F _rsv rsv 2>/dev/null || complete -F _rsv rsv
