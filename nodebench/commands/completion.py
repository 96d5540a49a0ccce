"""`nodebench completion`: a script for a shell, which asks this module for words whenever somebody presses TAB."""

from __future__ import annotations

from collections.abc import Sequence

from nodebench.commands.arguments import Parser
from nodebench.config.errors import ConfigError, did_you_mean
from nodebench.quoting import plain

EXAMPLES = """for one shell, and for all of them to come:
  source <(nodebench completion bash)
  echo 'source <(nodebench completion bash)' >> ~/.bashrc

  source <(nodebench completion zsh)
  nodebench completion zsh > FOLDER/_nodebench     # FOLDER is one of $fpath

  nodebench completion fish | source
  nodebench completion fish > ~/.config/fish/completions/nodebench.fish"""
WORDS = "words"  # what scripts ask for: `nodebench completion words LINE`

BASH = r"""# bash completion for nodebench
_nodebench() {
    local line=${COMP_LINE:0:COMP_POINT} program=${COMP_WORDS[0]/#\~/$HOME} typed cut= word
    line=${line#*"${COMP_WORDS[0]}"}
    typed=${line##*[[:space:]]}
    # Bash takes what stands behind the last = for the word.
    [[ $COMP_WORDBREAKS == *=* && $typed == *=* ]] && cut=${typed%"${typed##*=}"}
    COMPREPLY=()
    while IFS= read -r word; do
        word=${word%%$'\t'*}
        [[ $word == *[[:space:]]* ]] && printf -v word %q "$word"
        COMPREPLY+=("${word#"$cut"}")
    done < <("$program" completion words "$line" 2>/dev/null)
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=./] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -F _nodebench nodebench
"""
ZSH = r"""#compdef nodebench
_nodebench() {
    local line="${(j: :)words[2,CURRENT-1]} $PREFIX" program=${~words[1]} entry word
    local -a done_words done_shown open_words open_shown
    for entry in "${(@f)$("$program" completion words "$line" 2>/dev/null)}"; do
        word=${entry%%$'\t'*}
        [[ -n $word ]] || continue
        if [[ $word == *[=./] ]]; then
            open_words+=("$word"); open_shown+=("${entry//$'\t'/  -- }")
        else
            done_words+=("$word"); done_shown+=("${entry//$'\t'/  -- }")
        fi
    done
    (( $#open_words )) && compadd -l -S '' -d open_shown -a open_words
    (( $#done_words )) && compadd -l -d done_shown -a done_words
    (( $#open_words + $#done_words ))
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _nodebench "$@"
else
    compdef _nodebench nodebench
fi
"""
FISH = r"""# fish completion for nodebench
function __nodebench_words
    set -l tokens (commandline -opc)
    $tokens[1] completion words (commandline -cp | string replace -r '^\s*\S+' '') 2>/dev/null
end
complete -c nodebench -f -a '(__nodebench_words)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def run(argv: Sequence[str]) -> int:
    """Print the script of a shell, or for `words LINE` a word a line with what it is; returns 0."""
    if len(argv) == 2 and argv[0] == WORDS:
        _print_words(argv[1])
        return 0
    parser = Parser(
        prog="nodebench completion",
        description="Print a script that completes commands, options, choices, keys and run folders in your shell.",
        epilog=EXAMPLES,
    )
    parser.add_argument("shell", metavar="SHELL", words=SCRIPTS, help=", ".join(SCRIPTS))
    shell = parser.parse_args(argv).shell
    if shell not in SCRIPTS:
        raise ConfigError(f"there is no script for `{shell}`.{did_you_mean(shell, SCRIPTS)}")
    print(SCRIPTS[shell], end="")
    return 0


def _print_words(line: str) -> None:
    from nodebench.cli import COMMANDS, HELP
    from nodebench.commands.offered_words import words_for

    try:
        words = words_for(line, COMMANDS, HELP)
    except Exception as error:  # nobody sees it, and who presses a key wants no log written
        raise ConfigError(f"no words for `{line}`: {type(error).__name__}: {error}") from error
    for word, what in words:
        print(f"{plain(word)}\t{plain(what)}" if what else plain(word))
