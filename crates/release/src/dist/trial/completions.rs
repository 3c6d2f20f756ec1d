//! The completions in the shells that they are for: words are completed as when Tab is pressed.

use anyhow::{Result, ensure};

use super::debian::Debian;
use crate::say;

/// Packages that hold the shells.
pub(super) const PACKAGES: &str = "bash-completion,fish,zsh";

/// What is typed after `orderd`, and the word that its last one becomes.
const CASES: [(&str, &str); 3] =
    [("pub", "publish"), ("publish --cou", "--count"), ("dead-letters sho", "show")];

/// bash calls a function that says what the words may be.
const BASH: &str = r#"
. /usr/share/bash-completion/bash_completion
_completion_loader orderd
function=$(complete -p orderd)
function=${function#*-F }
COMP_WORDS=(orderd $0)
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
"${function%% *}" orderd "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
echo "${COMPREPLY[*]}"
"#;

/// fish says itself what the words may be, each with its description.
const FISH: &str = r#"complete --do-complete "orderd $argv" | string replace --regex '\t.*' ''"#;

/// zsh completes only in its line editor, which needs a terminal; `orderd` is then a function that says the word.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'autoload -U compinit && compinit -D; orderd() print -r "word=$@[-1]"
    zle-line-init() print edi"to"r; zle -N zle-line-init'
zpty -r shell said '*editor*'
zpty -w shell "orderd $0"$'\t'
zpty -r shell said $'*word=*\n'
print -r -- ${${said##*word=}%%[[:space:]]*}
"#;

pub(super) fn check(debian: &Debian) -> Result<()> {
    for (typed, wanted) in CASES {
        let completed = [
            ("bash", debian.run(&["bash", "-c", BASH, typed])?),
            ("fish", debian.run(&["fish", "--command", FISH, typed])?),
            ("zsh", debian.run_with_terminals(&["zsh", "-f", "-c", ZSH, typed])?),
        ];
        for (shell, completed) in completed {
            ensure!(
                completed == wanted,
                "{shell} completes `orderd {typed}` to {completed:?}, not {wanted:?}"
            );
        }
    }
    say("bash, fish and zsh complete commands, subcommands and options");
    Ok(())
}
