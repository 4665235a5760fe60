# fish completion for omni: put this file into ~/.config/fish/completions.
function __omni_names
    set -l names (command omni __complete fish (commandline -cp | string collect) 2>/dev/null)
    if test (count $names) -gt 0
        printf '%s\n' $names
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c omni -f -k -a '(__omni_names)'
