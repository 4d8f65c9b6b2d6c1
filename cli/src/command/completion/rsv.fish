# Completion of rsv for fish: what is offered is asked of rsv itself, which answers in time or with nothing.
function __rsv_offers
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l known ($words[1] __complete (commandline --current-process --cut-at-cursor | string collect) 2>/dev/null)
    switch $status
        case 0
            string match --regex '.+' -- $known
        case 3
            __fish_complete_path (commandline --current-token)
    end
end
complete --command rsv --no-files --keep-order --arguments '(__rsv_offers)'
