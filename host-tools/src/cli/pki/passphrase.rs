//! The passphrase of the CA's key: from a file, or from the terminal.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{
    exit::{Exit, Failure},
    files,
    pki::vault::Passphrase,
};

/// The passphrase for a new key: that of the file, or one that is typed twice where `ask_for_it` says so.
/// `None` for a key that is not encrypted.
///
/// # Errors
/// [`Exit::Usage`] where the terminal gives no passphrase, or two that differ; those of [`Passphrase::read`]
/// and [`Passphrase::new`].
pub(super) fn chosen(named: Option<&Path>, ask_for_it: bool) -> Result<Option<Passphrase>, Failure> {
    match file(named) {
        Some(file) => Passphrase::read(&file).map(Some),
        None if ask_for_it => {
            let (first, again) = (ask("Passphrase for the CA's key: ")?, ask("Repeat the passphrase: ")?);
            if first != again {
                return Err(Failure::new(Exit::Usage, "the two passphrases differ")
                    .hint("run the command again, and type the same passphrase twice"));
            }
            Passphrase::new(first.as_bytes()).map(Some)
        }
        None => Ok(None),
    }
}

/// The passphrase of a key that is encrypted: that of the file, or one that is typed. `None` where there is
/// neither a file nor a terminal.
///
/// # Errors
/// As [`chosen`].
pub(super) fn known(named: Option<&Path>) -> Result<Option<Passphrase>, Failure> {
    match file(named) {
        Some(file) => Passphrase::read(&file).map(Some),
        None if std::io::stdin().is_terminal() => {
            Passphrase::new(ask("Passphrase of the CA's key: ")?.as_bytes()).map(Some)
        }
        None => Ok(None),
    }
}

/// A warning with its cure, where other users can read or change the passphrase file. A container's secrets
/// can be read by every user of the container, and their mode cannot be changed there.
pub(super) fn exposed(named: Option<&Path>) -> Option<String> {
    let file = file(named).filter(|file| !file.starts_with(CONTAINER_SECRETS))?;
    let mode = files::exposed(&file)?;
    let shown = file.display();
    Some(format!(
        "other users of this machine can read or change the passphrase file {shown} (its mode is {mode:04o}): run `chmod 600 {shown}`"
    ))
}

/// The file that the command line names, or else the variable.
fn file(named: Option<&Path>) -> Option<PathBuf> {
    named.map(Path::to_owned).or_else(|| std::env::var_os(PASSPHRASE_VARIABLE).map(PathBuf::from))
}

/// A line from the terminal, without echo.
fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let terminal = console::Term::stderr();
    let asked = terminal.write_str(prompt).and_then(|()| terminal.read_secure_line());
    asked.map(Zeroizing::new).map_err(|e| {
        Failure::new(Exit::Usage, format!("cannot ask for a passphrase: {e}"))
            .hint("write the passphrase to a file, and give that file with --passphrase-file")
    })
}

/// Where a passphrase file may be named instead of on the command line.
const PASSPHRASE_VARIABLE: &str = "FL_PASSPHRASE_FILE";
/// Where container programs mount secrets, with mode 0444.
const CONTAINER_SECRETS: &str = "/run/secrets";
